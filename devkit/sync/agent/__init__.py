"""Step 5, sync: the agent, one importable side: the workspace's here, the container's over a pipe.

The text of these modules goes to the container over `exec` stdin. Standard library only, Python 3.7
and up; they import nothing but each other.
"""
