"""What must not be in production, found in an image that nobody runs, or in a manifest.

`image` reads an image's configuration and its files as a stream; `manifest` reads Kubernetes and
compose files. Both come to `Finding`s by the same rules (settings.py, files.py).
"""
