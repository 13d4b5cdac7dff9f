"""Step 7, diagnose: what is wrong with a service, in which line of the user's file, what to do."""
