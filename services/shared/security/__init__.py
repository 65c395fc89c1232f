"""TLS, client certificates and bearer tokens of every gRPC service, and of every client of one.

    server.py         SecurityConfig: what a service asks for
    interceptors.py   refusing calls without a token, in calls of a server
    client.py         ClientSecurity: what a client trusts and shows
    credentials.py    both: files of certificates and tokens, read anew when they change

`client` and what it imports are part of the bare client package: grpcio and the standard library.
"""
