"""Set-up at Cloudflare itself: a small client of its API, a plan that a person reads, and what carries it out.

    errors, rights     how the API refuses, and which permission of the dashboard was missing
    client, calls      one request with retries; the calls that prx needs, as functions
    things, wishes     what there is at Cloudflare, and what the user wants: frozen data
    world, plan        read everything once; pure: what there is and what is wanted → steps, in words and as JSON
    apply, removal     carry a plan out, write down what is intended before each request; take it back
    journal            what prx made, by host name, in a private file
    credentials, cert, oauth   where the token comes from

Imported only by the commands that set up, and by `status` and `doctor` when an API token is there.
"""
