"""The part of Snowglobe that is in the process of a CPython: it runs the script, whose calls go to Snowglobe."""
