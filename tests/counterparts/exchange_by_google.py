"""An agent's program that knows nothing of writ: google-auth exchanges the token on standard input. Its client makes neither an
assertion nor a proof, but passes on both: the agent names itself by `actor_token`.

exchange_by_google.py TOKEN_ENDPOINT AUDIENCE AGENT KEY_ID KEY_FILE SCOPE
"""

import sys
import time
import uuid

from google.auth.exceptions import OAuthError
from google.auth.transport.requests import Request
from google.oauth2.sts import Client
from jwskate import Jwk, Jwt
from requests_oauth2client import DPoPKey

endpoint, audience, agent, key_id, key_file, scope = sys.argv[1:7]
with open(key_file) as file:
    key = dict(Jwk.from_pem(file.read()))
now = int(time.time())
claims = {"iss": agent, "sub": agent, "aud": audience, "iat": now, "exp": now + 60, "jti": str(uuid.uuid4())}
assertion = Jwt.sign(claims, Jwk(dict(key, kid=key_id)), alg="EdDSA")
proof = DPoPKey(private_key=Jwk(key), alg="EdDSA").proof(htm="POST", htu=endpoint)
try:
    answer = Client(endpoint).exchange_token(
        Request(),
        grant_type="urn:ietf:params:oauth:grant-type:token-exchange",
        subject_token=sys.stdin.read().strip(),
        subject_token_type="urn:ietf:params:oauth:token-type:id_token",
        scopes=[scope],
        requested_token_type="urn:ietf:params:oauth:token-type:access_token",
        actor_token=str(assertion),
        actor_token_type="urn:ietf:params:oauth:token-type:jwt",
        additional_headers={"DPoP": str(proof)},
    )
except OAuthError as refused:
    print("refused:", refused)
    sys.exit(3)
print(answer["access_token"])
