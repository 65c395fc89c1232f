"""Who may ask a gRPC service of ours: TLS, client certificates and bearer tokens.

    server.py         SecurityConfig: what a service asks for
    interceptors.py   refuses calls without a valid token

What a client trusts and shows is `rrl_client.security`; both read their files by
`rrl_client.credentials`, again whenever one changes.
"""
