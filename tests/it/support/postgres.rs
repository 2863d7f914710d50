//! A real Postgres of the tests' own: started once, reachable through a socket in its own directory, gone with the tests.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::OnceCell;
use tokio_postgres::NoTls;
use writ::store::StoreUrl;

static SERVER: OnceCell<Server> = OnceCell::const_new();
static NEXT: AtomicU32 = AtomicU32::new(1);

const NOT_FOUND: &str =
    "no Postgres server was found in PATH or /usr/lib/postgresql/*/bin: run `scripts/ensure-postgres`";
/// The port of a server that listens on none.
pub(crate) const PORT: u16 = 5432;
const TEMPLATE: &str = "writ_template";

/// A running server.
pub(crate) struct Server {
    /// The directory of its socket.
    dir: PathBuf,
    /// Names the socket, and is its port where a test lets it listen on one.
    port: u16,
    supervisor: Child,
    /// The server ends when this closes, however the tests end.
    lifeline: Mutex<Option<Lifeline>>,
}

/// What the supervisor is told, and what it says.
struct Lifeline {
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

/// How a server ends that is started again.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ending {
    /// Open transactions are rolled back.
    Fast,
    /// As after a crash: the log is replayed.
    Immediate,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.lifeline.lock().unwrap().take());
        // Only the tests that stop a server come by here, and they go on when it is gone.
        let _ = self.supervisor.wait();
    }
}

/// The server, started by whoever needs it first.
pub(crate) async fn server() -> &'static Server {
    SERVER
        .get_or_init(|| async {
            let server = tokio::task::spawn_blocking(|| Server::start(&[])).await.unwrap();
            server.create(TEMPLATE, "template0").await;
            writ::store::migrate(&server.url("postgres", TEMPLATE)).await.unwrap();
            server.sql("postgres", &format!("ALTER DATABASE {TEMPLATE} ALLOW_CONNECTIONS false")).await;
            server
        })
        .await
}

impl Lifeline {
    /// The supervisor says when the server answers, or that it does not.
    fn until_ready(&mut self, dir: &Path) {
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        let log = || fs::read_to_string(dir.join("log")).unwrap_or_default();
        assert_eq!(line.trim(), "ready", "Postgres did not start:\n{}", log());
    }
}

impl Server {
    /// Starts a server with these settings beside the usual ones.
    pub(crate) fn start(settings: &[&str]) -> Self {
        Self::with_data(settings, |command, data| {
            command
                .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--pgdata"])
                .arg(data);
            "initdb"
        })
    }

    /// Starts a server that follows another one, which calls it `standby`.
    pub(crate) fn standby_of(primary: &Self) -> Self {
        let from = format!(
            "host={} port={} user=postgres application_name=standby",
            primary.dir.to_str().unwrap(),
            primary.port
        );
        Self::with_data(&[], |command, data| {
            command
                .args(["--write-recovery-conf", "--no-sync", "--checkpoint=fast", "--dbname", &from, "--pgdata"])
                .arg(data);
            "pg_basebackup"
        })
    }

    /// `make` adds the arguments of the program that makes the data directory, and names it.
    fn with_data(settings: &[&str], make: impl FnOnce(&mut Command, &Path) -> &'static str) -> Self {
        let bin = bin();
        let dir = tempfile::Builder::new().prefix("writ-pg-").tempdir().unwrap().keep();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        let user = unprivileged();
        if let Some((uid, gid)) = user {
            chown(&dir, Some(uid), Some(gid)).unwrap();
        }
        let data = dir.join("data");
        let mut arguments = Command::new("");
        let name = make(&mut arguments, &data);
        let made = as_user(Command::new(program(bin.as_deref(), name)), user)
            .args(arguments.get_args())
            .output()
            .expect(NOT_FOUND);
        assert!(made.status.success(), "{name}: {}", String::from_utf8_lossy(&made.stderr));
        let port = settings.iter().find_map(|setting| setting.strip_prefix("port="));
        let port = port.map_or(PORT, |port| port.parse().unwrap());
        let mut supervisor = as_user(Command::new("/bin/sh"), user)
            .args(["-c", SUPERVISE, "sh"])
            .arg(&dir)
            .arg(program(bin.as_deref(), "pg_dumpall"))
            .arg(port.to_string())
            .arg(program(bin.as_deref(), "postgres"))
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "full_page_writes=off"])
            .args(["-c", "max_connections=300", "-c", "shared_buffers=32MB", "-c", "autovacuum=off"])
            .args(settings.iter().flat_map(|setting| ["-c", setting]))
            .arg("-k")
            .arg(&dir)
            .arg("-D")
            .arg(&data)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, from) = (supervisor.stdin.take().unwrap(), supervisor.stdout.take().unwrap());
        let mut lifeline = Lifeline { to, from: BufReader::new(from) };
        lifeline.until_ready(&dir);
        let lifeline = Mutex::new(Some(lifeline));
        Self { dir, port, supervisor, lifeline }
    }

    /// Ends the server, starts it again, and returns when it answers.
    pub(crate) fn restart(&self, ending: Ending) {
        let signal = match ending {
            Ending::Fast => "INT",
            Ending::Immediate => "QUIT",
        };
        let mut lifeline = self.lifeline.lock().unwrap();
        let lifeline = lifeline.as_mut().unwrap();
        writeln!(lifeline.to, "{signal}").unwrap();
        lifeline.until_ready(&self.dir);
    }

    /// Makes a file one that the server takes for its private key: readable for its own user alone. Answers the path.
    pub(crate) fn own_file(path: &str) -> &str {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        if let Some((uid, gid)) = unprivileged() {
            chown(path, Some(uid), Some(gid)).unwrap();
        }
        path
    }

    /// Where a role finds a database of this server.
    pub(crate) fn url(&self, role: &str, database: &str) -> StoreUrl {
        self.text_url(role, database).parse().unwrap()
    }

    /// [`Server::url`] as text, for a configuration file.
    pub(crate) fn text_url(&self, role: &str, database: &str) -> String {
        url(&self.dir, self.port, role, database)
    }

    /// The server's own socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join(socket_name(self.port))
    }

    /// A new database with the current schema; answers its name.
    pub(crate) async fn fresh(&self) -> String {
        let name = unique("test");
        self.create(&name, TEMPLATE).await;
        name
    }

    /// A new database without a schema; answers its name.
    pub(crate) async fn empty(&self) -> String {
        let name = unique("empty");
        self.create(&name, "template0").await;
        name
    }

    async fn create(&self, name: &str, template: &str) {
        self.sql("postgres", &format!("CREATE DATABASE {name} TEMPLATE {template}")).await;
    }

    /// Runs a script in a database as the superuser.
    pub(crate) async fn sql(&self, database: &str, sql: &str) {
        self.try_sql("postgres", database, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Waits until a query of the superuser finds a row.
    pub(crate) async fn until(&self, database: &str, query: &str) {
        let url = self.text_url("postgres", database);
        let found = async {
            let (client, connection) = loop {
                // A standby may not have the database yet.
                match tokio_postgres::connect(&url, NoTls).await {
                    Ok(connected) => break connected,
                    Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
                }
            };
            let connection = tokio::spawn(connection);
            while client.query_opt(query, &[]).await.unwrap().is_none() {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            drop(client);
            let _ = connection.await;
        };
        tokio::time::timeout(std::time::Duration::from_secs(60), found).await.unwrap_or_else(|_| panic!("{query}"));
    }

    /// Runs a script as `role`; an error is answered as its SQLSTATE.
    pub(crate) async fn try_sql(&self, role: &str, database: &str, sql: &str) -> Result<(), String> {
        let (client, connection) = tokio_postgres::connect(&self.text_url(role, database), NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        let ran = client.batch_execute(sql).await;
        drop(client);
        // Until it is closed nobody can copy the database.
        let _ = connection.await;
        ran.map_err(|error| error.code().map_or_else(|| error.to_string(), |code| code.code().to_owned()))
    }
}

/// A URL of the server whose socket is in `dir`.
pub(crate) fn url(dir: &Path, port: u16, role: &str, database: &str) -> String {
    format!("postgres://{role}@{}:{port}/{database}", dir.to_str().unwrap().replace('/', "%2F"))
}

/// The URL of a database that one of several servers has, tried in this order.
pub(crate) fn url_of(servers: &[&Server], database: &str) -> String {
    let host = |server: &&Server| format!("{}:{}", server.dir.to_str().unwrap().replace('/', "%2F"), server.port);
    let hosts: Vec<_> = servers.iter().map(host).collect();
    format!("postgres://postgres@{}/{database}", hosts.join(","))
}

/// What a server of that port calls its socket.
pub(crate) fn socket_name(port: u16) -> String {
    format!(".s.PGSQL.{port}")
}

/// A name that no other test of this run has.
pub(crate) fn unique(prefix: &str) -> String {
    format!("{prefix}_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// `$1`: the directory, `$2`: `pg_dumpall`, `$3`: the port; the rest: the server's command. Ends the server when its own input
/// closes; by a line with the name of a signal it ends it too, and starts it again. Where the folders of the tests stay
/// (`canaries`), so does a dump.
const SUPERVISE: &str = r#"
    dir=$1; dump=$2; port=$3; shift 3
    dumped=$WRIT_TESTS_KEEP/${dir##*/}
    [ -z "$WRIT_TESTS_KEEP" ] || touch "$dumped.dumping"
    again=yes
    while [ -n "$again" ]; do
        "$@" >"$dir/log" 2>&1 &
        server=$!
        tries=0
        until grep -qs 'ready to accept' "$dir/log"; do
            tries=$((tries + 1))
            if ! kill -0 $server 2>/dev/null || [ $tries -gt 600 ]; then echo failed; exit 1; fi
            sleep 0.05
        done
        echo ready
        read -r again
        if [ -z "$again" ] && [ -n "$WRIT_TESTS_KEEP" ]; then
            "$dump" -h "$dir" -p "$port" -U postgres --no-sync >"$dumped.sql" 2>"$dumped.dumping" || mv "$dumped.dumping" "$dumped.failed"
            rm -f "$dumped.dumping"
        fi
        kill -"${again:-QUIT}" $server
        wait $server
    done
    rm -rf "$dir"
"#;

/// Where Debian keeps the newest server's programs; `None` to look in PATH.
fn bin() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|entry| entry.path().join("bin")).filter(|bin| bin.join("initdb").exists());
    found.max_by_key(|bin| {
        let version = bin.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        version.and_then(|version| version.parse::<u32>().ok())
    })
}

fn program(bin: Option<&Path>, name: &str) -> PathBuf {
    bin.map_or_else(|| name.into(), |bin| bin.join(name))
}

/// The user to run as where we are root, which a Postgres server refuses to be.
fn unprivileged() -> Option<(u32, u32)> {
    if !is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let find = |name: &str| {
        let fields: Vec<&str> =
            users.lines().map(|line| line.split(':').collect()).find(|f: &Vec<&str>| f[0] == name)?;
        Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
    };
    Some(find("postgres").or_else(|| find("nobody")).expect("a user `postgres` or `nobody` to run Postgres as"))
}

/// Whether files of this process belong to root.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").unwrap().uid() == 0
}

fn as_user(mut command: Command, user: Option<(u32, u32)>) -> Command {
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command.current_dir("/");
    command
}
