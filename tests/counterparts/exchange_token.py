"""An agent's program that knows nothing of writ: requests_oauth2client exchanges the token on standard input, with DPoP.

exchange_token.py TOKEN_ENDPOINT AGENT KEY_ID KEY_FILE SCOPE [TOKEN_TYPE]
"""

import sys

from jwskate import Jwk
from requests_oauth2client import DPoPKey, OAuth2Client, OAuth2Error, PrivateKeyJwt

endpoint, agent, key_id, key_file, scope = sys.argv[1:6]
token_type = sys.argv[6] if len(sys.argv) > 6 else "id_token"
with open(key_file) as file:
    key = dict(Jwk.from_pem(file.read()))
client = OAuth2Client(endpoint, auth=PrivateKeyJwt(agent, Jwk(dict(key, kid=key_id)), alg="EdDSA"), testing=True)
try:
    token = client.token_exchange(
        subject_token=sys.stdin.read().strip(),
        subject_token_type=token_type,
        dpop=True,
        dpop_key=DPoPKey(private_key=Jwk(key), alg="EdDSA"),
        scope=scope,
    )
except OAuth2Error as refused:
    print("refused:", type(refused).__name__, refused)
    sys.exit(3)
print(token.access_token)
