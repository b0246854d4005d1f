"""Sign-in by browser, as Cloudflare offers it to clients that anyone may register (since 2026-06-03).

`clients` holds who may ask, `grants` what was granted; `service` serves the pages and the token endpoint, beside /client/v4.
Only the authorization code with PKCE, S256, for public clients (RFC 6749, RFC 7636, "OAuth clients" of
developers.cloudflare.com).
"""
