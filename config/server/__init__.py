"""The web server: HTTP/1.1 on an event loop, Django in threads behind it (docs/adr/0013).

    python -m config.server --host 127.0.0.1 --port 8000 --door-port 8001 --workers 1 \
        --page-workers 2 --threads 4

A request costs a socket until its head is read, its token is plausible and its body is there. Then
a start, a finish, an extension or direct spend is decided from the loop (docs/adr/0017), and only
something else gets a thread. What decides on spending has processes that nothing else is answered
by; a connection that asks for something else is passed on to another process, and back.

The first port answers everything, the second what is for programs.

The command sets up signals before anything is imported; `config.server.master` has the rest.
"""
