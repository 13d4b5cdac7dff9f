"""The debug adapter protocol as this machine speaks it: a client, and the attach proof."""
