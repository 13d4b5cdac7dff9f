"""Step 3, attach: the debug adapter protocol as spoken here: a client, and the attach proof."""
