"""biscuit-python narrows a writ, or adds a holder-signed hop. The token comes on standard input, the result goes out.

attenuate.py ROOT_KEY_HEX narrow CODE
attenuate.py ROOT_KEY_HEX hop HOLDER_KEY_FILE CODE
"""

import sys

from biscuit_auth import Algorithm, Biscuit, BlockBuilder, KeyPair, PrivateKey, PublicKey

text = sys.stdin.read().strip()
root = PublicKey.from_bytes(bytes.fromhex(sys.argv[1]), Algorithm.Ed25519)
token = Biscuit.from_base64(text + "=" * (-len(text) % 4), root)
match sys.argv[2]:
    case "narrow":
        token = token.append(BlockBuilder(sys.argv[3]))
    case "hop":
        with open(sys.argv[3]) as file:
            holder = KeyPair.from_private_key(PrivateKey.from_pem(file.read()))
        block = token.third_party_request().create_block(holder.private_key, BlockBuilder(sys.argv[4]))
        token = token.append_third_party(holder.public_key, block)
print(token.to_base64().rstrip("="))
