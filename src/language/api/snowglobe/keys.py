"""Names of keys."""

# What QEMU calls the keys that type these characters on a US keyboard.
KEY_NAMES = {
    **{char: f"shift-{char.lower()}" for char in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"},
    **{char: f"shift-{digit}" for digit, char in enumerate(")!@#$%^&*(")},
    **{
        "-": "minus",
        "_": "shift-minus",
        "=": "equal",
        "+": "shift-equal",
        "[": "bracket_left",
        "{": "shift-bracket_left",
        "]": "bracket_right",
        "}": "shift-bracket_right",
        ";": "semicolon",
        ":": "shift-semicolon",
        "'": "apostrophe",
        '"': "shift-apostrophe",
        "`": "grave_accent",
        "~": "shift-grave_accent",
        "\\": "backslash",
        "|": "shift-backslash",
        ",": "comma",
        "<": "shift-comma",
        ".": "dot",
        ">": "shift-dot",
        "/": "slash",
        "?": "shift-slash",
        " ": "spc",
        "\n": "ret",
        "\t": "tab",
    },
}
