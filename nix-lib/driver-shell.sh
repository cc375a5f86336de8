# shellcheck shell=bash disable=SC1007,SC1091,SC2164
export USER=root HOME=/root DISPLAY=:0.0
[ ! -r @profile@ ] || . @profile@
# A profile names one that waits for a reader.
export PAGER=
cd /tmp
exec < /dev/hvc0 > /dev/hvc0
while ! exec 2> /dev/ttyS0; do sleep 0.1; done
echo "connecting to host..." >&2
stty -F /dev/hvc0 raw -echo
echo "Spawning backdoor root shell..."
PS1= exec @bash@ --norc /dev/hvc0
