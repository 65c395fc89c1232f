"""Security of our gRPC services: TLS, client certificates and bearer tokens.

    server.py         SecurityConfig: what a service requires
    interceptors.py   refuses calls without a valid token

The client's side is `rrl_client.security`; both read their files with `rrl_client.credentials`, and
reread them when they change.
"""
