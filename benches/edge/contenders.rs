//! Other people's proxies, set up to do the part of the edge's work that they can do.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::process::{Place, Process, command, free_address};
use crate::readme::root;
use crate::world::{INJECTED, PATH, UPSTREAM_PATH};

/// A server, and where it speaks what.
pub(crate) struct Served {
    pub(crate) process: Process,
    pub(crate) http1: SocketAddr,
    pub(crate) http2: Option<SocketAddr>,
}

/// Makes sure that they are installed, as far as this machine can.
pub(crate) fn install() {
    let script = root().join("scripts/ensure-contenders");
    if !Command::new(script).status().is_ok_and(|status| status.success()) {
        println!("not every contender could be installed: those are left out");
    }
}

/// `program`, if it is there, with `settings` in a file.
fn started(program: &Path, args: &[&str], settings: &str, ready: (SocketAddr, &str)) -> Option<Process> {
    if !program.exists() {
        println!("{} is not installed: left out", program.display());
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    // Envoy goes by the ending.
    let path = dir.path().join("settings.yaml");
    fs::write(&path, settings.replace("DIR", dir.path().to_str().unwrap())).unwrap();
    let mut command = command(Place::Server, program);
    command.args(args).arg(&path);
    let process = Process::start(command, dir);
    if process.ready(ready.0, ready.1).is_none() {
        println!("{} does not start, and is left out:\n{}", program.display(), process.log());
        return None;
    }
    Some(process)
}

/// nginx, which can add a header that always has the same value.
pub(crate) fn nginx(upstream: SocketAddr, injects: bool) -> Option<Served> {
    let (http1, http2) = (free_address(), free_address());
    let inject = if injects { format!("proxy_set_header Authorization \"{INJECTED}\";") } else { String::new() };
    let settings = format!(
        "daemon off; master_process off; worker_processes 1; pid DIR/pid; error_log stderr;
         events {{ worker_connections 4096; }}
         http {{
             access_log off; keepalive_requests 100000000; client_max_body_size 100m; client_body_buffer_size 128k;
             client_body_temp_path DIR/a; proxy_temp_path DIR/b; fastcgi_temp_path DIR/c; uwsgi_temp_path DIR/d; scgi_temp_path DIR/e;
             upstream service {{ server {upstream}; keepalive 256; keepalive_requests 100000000; }}
             server {{
                 listen {http1}; listen {http2} http2;
                 location / {{
                     proxy_pass http://service{UPSTREAM_PATH}; proxy_http_version 1.1; proxy_set_header Connection \"\";
                     proxy_request_buffering off; {inject}
                 }}
             }}
         }}"
    );
    let process = started(Path::new("/usr/sbin/nginx"), &["-c"], &settings, (http1, PATH))?;
    Some(Served { process, http1, http2: Some(http2) })
}

/// HAProxy with a header that always has the same value.
pub(crate) fn haproxy(upstream: SocketAddr) -> Option<Served> {
    let http1 = free_address();
    let settings = format!(
        "global\n nbthread 1\n maxconn 4096\n\
         defaults\n mode http\n timeout client 60s\n timeout server 60s\n timeout connect 10s\n option http-keep-alive\n http-reuse always\n\
         frontend all\n bind {http1}\n http-request set-path {UPSTREAM_PATH}\n \
         http-request set-header Authorization \"{INJECTED}\"\n default_backend service\n\
         backend service\n server one {upstream}\n"
    );
    let process = started(Path::new("/usr/sbin/haproxy"), &["-db", "-f"], &settings, (http1, PATH))?;
    Some(Served { process, http1, http2: None })
}

/// Envoy, which asks somebody else for each request (`ext_authz`) and takes the credential from the answer. Whom it asks knows
/// one token in a table; both are counted.
pub(crate) fn envoy(upstream: SocketAddr, token: &str) -> Option<Served> {
    let (authz, asked) = Process::role(Place::Server, &["serve-authz", token]);
    let http1 = free_address();
    let settings = ENVOY
        .replace("LISTEN", &http1.port().to_string())
        .replace("UPSTREAM", &upstream.port().to_string())
        .replace("ASKED", &asked.port().to_string())
        .replace("REWRITTEN", UPSTREAM_PATH);
    let program = root().join("target/contenders/envoy");
    let args = ["--concurrency", "1", "--use-dynamic-base-id", "--log-level", "error", "-c"];
    let process = started(&program, &args, &settings, (http1, "/ready"))?;
    Some(Served { process: process.with(authz), http1, http2: Some(http1) })
}

const ENVOY: &str = r#"
static_resources:
  listeners:
  - address: { socket_address: { address: 127.0.0.1, port_value: LISTEN } }
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: all
          codec_type: AUTO
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: { path: /ready }
                direct_response: { status: 200 }
                typed_per_filter_config:
                  envoy.filters.http.ext_authz:
                    "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute
                    disabled: true
              - match: { prefix: / }
                route: { cluster: service, prefix_rewrite: REWRITTEN }
          http_filters:
          - name: envoy.filters.http.ext_authz
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
              http_service:
                server_uri: { uri: "http://127.0.0.1:ASKED", cluster: asked, timeout: 5s }
                authorization_response:
                  allowed_upstream_headers: { patterns: [ { exact: authorization } ] }
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
  - name: service
    type: STATIC
    load_assignment:
      cluster_name: service
      endpoints: [ { lb_endpoints: [ { endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: UPSTREAM } } } } ] } ]
  - name: asked
    type: STATIC
    load_assignment:
      cluster_name: asked
      endpoints: [ { lb_endpoints: [ { endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: ASKED } } } } ] } ]
"#;
