"""Set-up at Cloudflare as the commands need it: this machine's files and secrets around `prx.cloudflare_api`."""
