"""joserfc makes keys and signs tokens, also ones that nobody should. One JSON object a line in, one a line out.

{"make": "RSA", "size": 2048, "kid": "1"}                      -> {"key": 0, "public": {...}, "private": {...}}
{"sign": 0, "header": {"alg": "RS256"}, "claims": {...}}       -> {"token": "..."}
{"secret": "text", "header": {"alg": "HS256"}, "claims": {}}   -> {"token": "..."}
{"sign": 0, "header": {...}, "payload": "not even JSON"}       -> {"token": "..."}
"""

import json
import sys
import warnings

from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

warnings.simplefilter("ignore")

ALGORITHMS = ["none", "HS256", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA", "Ed25519"]
REGISTRY = jws.JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
keys = []


def make(request):
    parameters = {"kid": request["kid"]} if "kid" in request else {}
    match request["make"]:
        case "RSA":
            key = RSAKey.generate_key(request.get("size", 2048), parameters)
        case "P-256" | "P-384" as curve:
            key = ECKey.generate_key(curve, parameters)
        case "Ed25519":
            key = OKPKey.generate_key("Ed25519", parameters)
    keys.append(key)
    return {"key": len(keys) - 1, "public": key.as_dict(private=False), "private": key.as_dict(private=True)}


def sign(request, key):
    payload = request.get("payload") or json.dumps(request["claims"], ensure_ascii=False)
    return {"token": jws.serialize_compact(request["header"], payload.encode(), key, registry=REGISTRY)}


for line in sys.stdin:
    request = json.loads(line)
    if "make" in request:
        answer = make(request)
    elif "secret" in request:
        answer = sign(request, OctKey.import_key(request["secret"]))
    else:
        answer = sign(request, keys[request["sign"]])
    print(json.dumps(answer), flush=True)
