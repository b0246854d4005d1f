"""An edge on this machine that cloudflared connects to as if it were Cloudflare's; `lab` puts its parts together."""
