"""Beside the steps, doctor: is this machine ready, each check with what to do where it is not."""
