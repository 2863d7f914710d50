"""An enterprise's identity provider that provisions: canaille, where users log in as in production, and which knows nothing of writ.

provisioner.py PORT SCIM_URL DATABASE

The first line of standard input is the secret of its SCIM client, the first of standard output is `ready`. Then a command a line,
each answered by one line: `user NAME`, `group NAME MEMBER`, `lock NAME` or `unlock NAME`, answered by the milliseconds that canaille
waited for its push to be answered.
"""

import datetime
import logging
import sys
import threading
import time

from canaille import create_app
from joserfc import jwk
from werkzeug.serving import make_server

port, url, database = sys.argv[1:4]
secret = sys.stdin.readline().strip()
issuer = f"http://127.0.0.1:{port}"
key = jwk.RSAKey.generate_key(2048, parameters={"kid": "1", "use": "sig", "alg": "RS256"})
app = create_app(
    {
        "SECRET_KEY": "not a secret of anybody " * 2,
        "SERVER_NAME": f"127.0.0.1:{port}",
        "PREFERRED_URL_SCHEME": "http",
        "CANAILLE": {"DATABASE": "sql"},
        "CANAILLE_SQL": {"DATABASE_URI": f"sqlite:///{database}"},
        "CANAILLE_SCIM": {"ENABLE_CLIENT": True},
        "CANAILLE_OIDC": {"ACTIVE_JWKS": [key.as_dict(private=True)]},
    },
    init_backend=True,
)
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = make_server("127.0.0.1", int(port), app, threaded=True)
threading.Thread(target=server.serve_forever, daemon=True).start()


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def answer(command, name, rest):
    from canaille.app import models
    from canaille.backends import Backend

    backend = Backend.instance
    if command == "client":
        desktop = models.Client(
            client_id="desktop",
            client_name="desktop",
            client_uri=issuer,
            redirect_uris=["http://127.0.0.1/callback"],
            grant_types=["authorization_code"],
            response_types=["code"],
            scope=["openid", "profile", "groups"],
            token_endpoint_auth_method="none",
        )
        backend.save(desktop)
        desktop.audience = [desktop]
        backend.save(desktop)
        # Its token at the remote server is ours, as if the operator had entered it there.
        client = models.Client(client_id=name, client_name=name, client_uri=url, redirect_uris=[f"{url}/none"])
        backend.save(client)
        client.audience = [client]
        backend.save(client)
        token = models.Token(
            token_id=name, access_token=secret, audience=[client], client=client, scope=["openid"], issue_date=now(), lifetime=10**8
        )
        backend.save(token)
        return "done"
    if command == "user":
        saved = models.User(
            user_name=name,
            formatted_name=name,
            family_name=name,
            emails=[f"{name}@corp.example"],
            password=f"password of {name}",
        )
    else:
        user = backend.get(models.User, user_name=rest or name)
        if command == "group":
            saved = models.Group(display_name=name, members=[user])
        else:
            user.lock_date = now() - datetime.timedelta(seconds=60) if command == "lock" else None
            saved = user
    begun = time.perf_counter()
    backend.save(saved)
    return f"{(time.perf_counter() - begun) * 1000:.1f}"


def answered(line):
    command, name, *rest = line.split()
    with app.app_context(), app.backend.session():
        print(answer(command, name, rest[0] if rest else None), flush=True)


with app.app_context(), app.backend.session():
    answer("client", "writ", None)
print("ready", flush=True)
for line in sys.stdin:
    answered(line)
