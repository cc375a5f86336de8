# What QEMU shows to guests of each system.
{
  x86_64-linux = {
    qemu = "qemu-system-x86_64";
    machine = "pc";
    # Without and with the host's own virtualisation.
    emulated = "qemu64";
    native = "max";
    # A /dev/kvm that opens says little: without the processor's own
    # virtualisation it stops guests half-way.
    isNative = "grep -qwE 'vmx|svm' /proc/cpuinfo";
    console = "ttyS0";
    display = "-vga std";
    # The kernel's look at the timer at boot fails where the host is busy, and
    # ends in a panic.
    parameters = [ "no_timer_check" ];
    devices = "";
    modules = [ ];
    hasFirmware = true;
  };
  aarch64-linux = {
    qemu = "qemu-system-aarch64";
    machine = "virt";
    emulated = "cortex-a57";
    native = "host";
    isNative = "test $(uname -m) = aarch64";
    console = "ttyAMA0";
    display = "-device virtio-gpu-pci";
    parameters = [ ];
    # Its machines have no keyboard, by which scripts reboot them.
    devices = "-device virtio-keyboard-pci";
    modules = [ "virtio_input" ];
    hasFirmware = false;
  };
}
