//! Other servers than Replug, set up as their manuals say and started from a folder of ours. Each
//! listens on the loopback interface only and ends when dropped.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use replug_tests::Connection;

/// A server that runs in the foreground.
#[derive(Debug)]
pub(crate) struct Peer {
    child: Child,
    /// Where it listens.
    pub(crate) address: String,
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Its first process ends its others, if it may: so not by force at once.
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").arg(pid).status();
        let _ = self.child.wait();
    }
}

/// nginx with a worker for each core, in front of a server on a Unix socket, to which it keeps
/// connections. It passes on what Replug does: the request's host, and who asked. `None`, and a line
/// that says so: it is not installed.
pub(crate) async fn nginx(folder: &Path, behind: &Path, cores: usize) -> Option<Peer> {
    installed("nginx", "nginx-light")?;
    let address = free_address();
    let (folder_name, behind) = (folder.display(), behind.display());
    // As the server behind it, whose socket nobody else may open.
    let user = if rustix::process::geteuid().is_root() {
        "user root;"
    } else {
        ""
    };
    let config = format!(
        "daemon off;\n\
         {user}\n\
         worker_processes {cores};\n\
         pid {folder_name}/nginx.pid;\n\
         error_log stderr warn;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n\
           access_log off;\n\
           keepalive_requests 1000000000;\n\
           client_body_temp_path {folder_name}/body;\n\
           proxy_temp_path {folder_name}/proxy;\n\
           fastcgi_temp_path {folder_name}/fastcgi;\n\
           uwsgi_temp_path {folder_name}/uwsgi;\n\
           scgi_temp_path {folder_name}/scgi;\n\
           upstream app {{\n\
             server unix:{behind};\n\
             keepalive 64;\n\
             keepalive_requests 1000000000;\n\
           }}\n\
           server {{\n\
             listen {address};\n\
             location / {{\n\
               proxy_pass http://app;\n\
               proxy_http_version 1.1;\n\
               proxy_set_header Connection \"\";\n\
               proxy_set_header Host $host;\n\
               proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n\
             }}\n\
           }}\n\
         }}\n"
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, config).unwrap();
    let mut command = Command::new("nginx");
    command.arg("-c").arg(&file).arg("-e").arg("stderr");
    Some(start(command, address).await)
}

/// Apache with mod_wsgi in daemon mode: so many processes of one thread each run the script. `None`,
/// and a line that says so: it is not installed.
pub(crate) async fn mod_wsgi(folder: &Path, script: &Path, processes: usize) -> Option<Peer> {
    const MODULES: &str = "/usr/lib/apache2/modules";
    installed("apache2", "apache2 libapache2-mod-wsgi-py3")?;
    if !Path::new(MODULES).join("mod_wsgi.so").exists() {
        missing("mod_wsgi", "libapache2-mod-wsgi-py3");
        return None;
    }
    let address = free_address();
    let (root, script) = (folder.display(), script.display());
    let mut config = format!(
        "ServerRoot {root}\n\
         ServerName localhost\n\
         Listen {address}\n\
         PidFile {root}/apache.pid\n\
         ErrorLog {root}/apache.log\n\
         LoadModule mpm_event_module {MODULES}/mod_mpm_event.so\n\
         LoadModule authz_core_module {MODULES}/mod_authz_core.so\n\
         LoadModule wsgi_module {MODULES}/mod_wsgi.so\n\
         MaxKeepAliveRequests 0\n\
         WSGISocketPrefix {root}/wsgi\n\
         WSGIDaemonProcess bench processes={processes} threads=1\n\
         WSGIScriptAlias / {script} process-group=bench application-group=%{{GLOBAL}}\n\
         <Location />\n\
         Require all granted\n\
         </Location>\n"
    );
    if rustix::process::geteuid().is_root() {
        // As root it does not serve: these are the distribution's own.
        config += "User www-data\nGroup www-data\n";
    }
    let file = folder.join("apache.conf");
    fs::write(&file, config).unwrap();
    let mut command = Command::new("apache2");
    command.arg("-f").arg(&file).arg("-DFOREGROUND");
    Some(start(command, address).await)
}

/// Starts it and waits until it listens.
async fn start(mut command: Command, address: String) -> Peer {
    let child = command.stdout(Stdio::null()).spawn().unwrap();
    let mut peer = Peer { child, address };
    while Connection::try_http1(&peer.address).await.is_err() {
        let ended = peer.child.try_wait().unwrap();
        assert!(ended.is_none(), "{command:?} has ended: {ended:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    peer
}

fn installed(command: &str, packages: &str) -> Option<()> {
    let found = Command::new(command).arg("-v").output().is_ok();
    if !found {
        missing(command, packages);
    }
    found.then_some(())
}

fn missing(what: &str, packages: &str) {
    println!("{what} is not installed, and left out: apt-get install {packages}\n");
}

/// An address where nobody listens now.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}
