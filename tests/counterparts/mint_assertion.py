"""pysaml2 (with xmlsec1) as a SAML identity provider that signs what it is asked to, also what nobody should.

mint_assertion.py ENTITY_ID KEY_FILE CERTIFICATE_FILE AUDIENCE RECIPIENT USER [HOW...]

HOW, any of: `response` prints the response around the assertion; `response-signed` has it signed instead of the assertion;
`sha1` signs by SHA-1; `encrypted` encrypts the assertion; `awkward` puts in what canonicalization must get right.
"""

import base64
import sys
import warnings

warnings.simplefilter("ignore")

from saml2 import BINDING_HTTP_REDIRECT, saml
from saml2.config import IdPConfig
from saml2.server import Server
from saml2.xmldsig import DIGEST_SHA1, DIGEST_SHA256, SIG_RSA_SHA1, SIG_RSA_SHA256

entity_id, key, certificate, audience, recipient, user, *how = sys.argv[1:]
relying = f"""<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="{audience}">
<SPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol"><AssertionConsumerService index="0"
Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Location="{recipient}"/></SPSSODescriptor></EntityDescriptor>"""
config = IdPConfig().load(
    {
        "entityid": entity_id,
        "key_file": key,
        "cert_file": certificate,
        "metadata": {"inline": [relying]},
        "xmlsec_binary": "/usr/bin/xmlsec1",
        "service": {
            "idp": {
                "endpoints": {"single_sign_on_service": [(f"{entity_id}/sso", BINDING_HTTP_REDIRECT)]},
                "policy": {"default": {"lifetime": {"minutes": 15}, "attribute_restrictions": None}},
            }
        },
    }
)
server = Server(config=config)
groups = ["staff", "finance"]
if "awkward" in how:
    groups += ["R&D <\"research\">", "æøå 漢字 🦀", "  spaces  ", "it's"]
signed_response = "response-signed" in how
response = server.create_authn_response(
    {"groups": groups},
    "id-of-the-request",
    recipient,
    audience,
    name_id=saml.NameID(format=saml.NAMEID_FORMAT_PERSISTENT, text=user, sp_name_qualifier=audience),
    authn={"class_ref": saml.AUTHN_PASSWORD, "authn_auth": entity_id},
    sign_response=signed_response,
    sign_assertion=not signed_response,
    sign_alg=SIG_RSA_SHA1 if "sha1" in how else SIG_RSA_SHA256,
    digest_alg=DIGEST_SHA1 if "sha1" in how else DIGEST_SHA256,
    encrypt_assertion="encrypted" in how,
    encrypt_cert_assertion=open(certificate).read() if "encrypted" in how else None,
)
text = str(response)
if not {"response", "response-signed", "encrypted"} & set(how):
    # What the response declares must stand in the assertion once it is alone.
    declared = " ".join(part for part in text[text.index("<ns0:Response") : text.index(">", 40)].split() if part.startswith("xmlns:"))
    start, end = text.index("<ns1:Assertion"), text.index("</ns1:Assertion>") + len("</ns1:Assertion>")
    text = text[start:end].replace("<ns1:Assertion", f"<ns1:Assertion {declared}", 1)
sys.stdout.write(base64.urlsafe_b64encode(text.encode()).decode().rstrip("="))
