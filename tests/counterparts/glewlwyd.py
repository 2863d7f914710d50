"""The administrator of a glewlwyd, by its configuration file and its own HTTP API; writ is unknown here.

glewlwyd.py prepare INSTALLED FOLDER PORT       makes a database and a configuration file in FOLDER
glewlwyd.py configure PORT JWKS_FILE LOGOUT_URI CLIENT_SECRET RESOURCE      on standard input: a user a line, `NAME GROUP…`
glewlwyd.py disable|enable|remove PORT USER
"""

import gzip
import http.cookiejar
import json
import pathlib
import sqlite3
import sys
import urllib.error
import urllib.request

COOKIES = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
OPENER = urllib.request.build_opener(COOKIES)


def prepare(installed, folder, port):
    installed, folder = pathlib.Path(installed).absolute(), pathlib.Path(folder)
    tables = gzip.open(installed / "usr/share/doc/glewlwyd/database/init.sqlite3.sql.gz", "rt").read()
    sqlite3.connect(folder / "glewlwyd.db").executescript(tables)
    (folder / "none").mkdir()
    modules = installed / "usr/lib/glewlwyd"
    (folder / "glewlwyd.conf").write_text(
        f"""
port = {port}
bind_address = "127.0.0.1"
external_url = "http://127.0.0.1:{port}"
login_url = "login.html"
api_prefix = "api"
log_mode = "console"
log_level = "DEBUG"
cookie_domain = "127.0.0.1"
cookie_secure = 0
user_module_path = "{modules}/user"
user_middleware_module_path = "{folder}/none"
client_module_path = "{modules}/client"
user_auth_scheme_module_path = "{modules}/scheme"
plugin_module_path = "{modules}/plugin"
hash_algorithm = "SHA512"
database = {{ type = "sqlite3" path = "{folder}/glewlwyd.db" }}
"""
    )


def call(port, method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    url = f"http://127.0.0.1:{port}/api/{path}"
    request = urllib.request.Request(url, data, {"content-type": "application/json"}, method=method)
    try:
        with OPENER.open(request) as response:
            answer = response.read()
    except urllib.error.HTTPError as refused:
        sys.exit(f"{method} {path}: {refused.code} {refused.read().decode()}")
    return json.loads(answer) if answer else None


def administrator(port):
    call(port, "POST", "auth", {"username": "admin", "password": "password"})


def configure(port, jwks_file, logout_uri, client_secret, resource):
    administrator(port)
    users = call(port, "GET", "mod/user/database")
    users["parameters"]["data-format"]["groups"] = {"multiple": True, "read": True, "write": True}
    call(port, "PUT", "mod/user/database", users)
    call(port, "PUT", "mod/user/database/reset")
    oidc = {
        "iss": f"http://127.0.0.1:{port}/api/oidc",
        "jwks-private": pathlib.Path(jwks_file).read_text(),
        "jwks-show": True,
        "secret-type": "public",
        "access-token-duration": 600,
        "refresh-token-duration": 3600,
        "code-duration": 60,
        "refresh-token-rolling": False,
        "allow-non-oidc": False,
        "auth-type-code-enabled": True,
        "auth-type-token-enabled": False,
        "auth-type-id-token-enabled": True,
        "auth-type-none-enabled": False,
        "auth-type-password-enabled": False,
        "auth-type-client-enabled": True,
        "auth-type-device-enabled": False,
        "auth-type-refresh-enabled": True,
        "pkce-allowed": True,
        "pkce-required": True,
        "pkce-method-plain-allowed": False,
        "address-claim": {"type": "no"},
        "name-claim": "no",
        "email-claim": "no",
        "scope-claim": "no",
        "claims": [{"name": "groups", "user-property": "groups", "type": "string", "mandatory": True, "scope": []}],
        "allowed-scope": ["openid"],
        "introspection-revocation-allowed": True,
        "introspection-revocation-allow-target-client": True,
        "introspection-revocation-auth-scope": [],
        "session-management-allowed": True,
        "session-cookie-name": "GLEWLWYD2_OIDC_SID",
        "session-cookie-expiration": 3600,
        "back-channel-logout-allowed": True,
        "front-channel-logout-allowed": False,
        "request-parameter-allow": False,
        "resource-allowed": True,
        "resource-scope": {"openid": [resource]},
        "resource-client-property": "",
        "resource-scope-and-client-property": False,
        "resource-change-allowed": False,
    }
    call(port, "POST", "mod/plugin", {"module": "oidc", "name": "oidc", "display_name": "corp", "parameters": oidc})
    scope = {"display_name": "openid", "password_required": True, "password_max_age": 0, "scheme": {}}
    call(port, "PUT", "scope/openid", scope)
    client = {
        "client_id": "desktop",
        "name": "desktop",
        "enabled": True,
        "confidential": True,
        "client_secret": client_secret,
        "redirect_uri": ["http://127.0.0.1/callback"],
        # Who may introspect must be a client that may have tokens of its own.
        "authorization_type": ["code", "client_credentials"],
        "token_endpoint_auth_method": ["client_secret_basic"],
        "backchannel_logout_uri": logout_uri,
        "backchannel_logout_session_required": "true",
        "scope": ["openid"],
    }
    call(port, "POST", "client", client)
    for line in sys.stdin:
        name, *groups = line.split()
        user = {"username": name, "password": f"password of {name}", "enabled": True, "scope": ["openid"], "groups": groups}
        call(port, "POST", "user", user)


def enabled(port, name, is_enabled):
    administrator(port)
    user = call(port, "GET", f"user/{name}")
    call(port, "PUT", f"user/{name}", {**user, "enabled": is_enabled})


def remove(port, name):
    administrator(port)
    call(port, "DELETE", f"user/{name}")


command, *args = sys.argv[1:]
{
    "prepare": prepare,
    "configure": configure,
    "disable": lambda port, name: enabled(port, name, False),
    "enable": lambda port, name: enabled(port, name, True),
    "remove": remove,
}[command](*args)
