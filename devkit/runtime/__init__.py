"""What runs inside the container: front, multiplexer, zygote, worker, standby.

    front        threads   HTTP on :5001; health, queue, status codes; no user code supervisor
    loop      the state machine: starts, swaps and watches workers multiplexer  loop      the
    debugger on :5678: one session for the editor, whatever the workers do zygote       process
    third-party imports, done once; forks, never calls what it imported worker       process   the
    entry script: init(), then the scoring app; one request at a time standby      process   a
    worker forked ahead, its debugger connected, waiting for "load"

Standard library only, Python 3.7 and up; copied into images as /opt/devkit/devkit_runtime.
"""
