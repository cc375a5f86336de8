#!/usr/bin/env python3
"""Runs a command on a terminal and draws what the terminal shows at some moment.

usage: terminal-picture.py OUT.svg SECONDS COMMAND [ARGUMENT...]

Draws README's picture of the live display (`make picture`). Needs pyte, a terminal emulator.
"""

import fcntl
import html
import os
import pty
import select
import struct
import sys
import termios
import time

import pyte

COLUMNS, ROWS = 100, 16
CELL_WIDTH, CELL_HEIGHT, MARGIN = 8.43, 19, 14
FOREGROUND, BACKGROUND = "#d8dee9", "#1d2129"
COLOURS = {
    "black": "#7b8494",
    "red": "#e06c75",
    "green": "#98c379",
    "brown": "#e5c07b",
    "blue": "#61afef",
    "magenta": "#c678dd",
    "cyan": "#56b6c2",
    "white": FOREGROUND,
    "default": FOREGROUND,
}


def screen_after(seconds, command):
    """The screen of a terminal on which the command has run for this long."""
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp(command[0], command)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if select.select([terminal], [], [], left)[0]:
            try:
                stream.feed(os.read(terminal, 65536))
            except OSError:
                break
    os.close(terminal)  # ends the command as the end of any terminal does
    os.waitpid(pid, 0)
    return screen


def runs(line):
    """The characters of a line as (column, text, colour, bold), joined where they look the same."""
    found = []
    for column in range(COLUMNS):
        cell = line[column]
        colour = COLOURS.get(cell.fg, FOREGROUND)
        if found and found[-1][2:] == (colour, cell.bold):
            start, text, *look = found[-1]
            found[-1] = (start, text + cell.data, *look)
        else:
            found.append((column, cell.data, colour, cell.bold))
    return [one for one in found if one[1].strip()]


def draw(screen):
    rows = max((row for row in range(ROWS) if runs(screen.buffer[row])), default=0) + 1
    width = COLUMNS * CELL_WIDTH + 2 * MARGIN
    height = rows * CELL_HEIGHT + 2 * MARGIN
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        'font-family="ui-monospace, Menlo, Consolas, monospace" font-size="14">'
    )
    yield f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>'
    for row in range(rows):
        for column, text, colour, bold in runs(screen.buffer[row]):
            text = text.rstrip()
            weight = ' font-weight="bold"' if bold else ""
            x = MARGIN + column * CELL_WIDTH
            y = MARGIN + (row + 0.75) * CELL_HEIGHT
            yield (
                f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}"{weight} xml:space="preserve" '
                f'textLength="{len(text) * CELL_WIDTH:.1f}">{html.escape(text)}</text>'
            )
    yield "</svg>"


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    out, seconds, *command = sys.argv[1:]
    picture = "\n".join(draw(screen_after(float(seconds), command)))
    with open(out, "w") as file:
        file.write(picture + "\n")


if __name__ == "__main__":
    main()
