//! The list in its SQLite file.
//!
//! Two generations have that file open while the old one drains, each with a copy of SQLite of its
//! own. SQLite's locks are the process's: the copies would not see each other's, and the one that
//! closes the file would drop those of the other (<https://sqlite.org/howtocorrupt.html>, 2.2). So
//! SQLite is told to take none, and a lock that belongs to the open file is held around each use.

use std::{
    fs::File,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use replug_plugin::BoxError;
use rusqlite::{Connection, OpenFlags};
use serde::Serialize;

/// Ends this library's copy of SQLite. What Rust code leaves in memory is freed with the generation's
/// heap, but SQLite is in C: what it keeps between connections would be lost at each reload.
#[expect(unsafe_code, reason = "a function of SQLite's")]
pub(crate) fn give_memory_back() {
    // SAFETY: the only connection has been closed, and nothing else here uses SQLite.
    unsafe { rusqlite::ffi::sqlite3_shutdown() };
}

#[derive(Serialize)]
pub(crate) struct Item {
    id: i64,
    text: String,
}

/// `None` once it has been closed.
#[derive(Clone)]
pub(crate) struct Store(Arc<Mutex<Option<Database>>>);

struct Database {
    connection: Connection,
    /// The file beside it that is locked while it is used.
    lock: File,
}

impl Database {
    fn open(path: &Path) -> Result<Self, BoxError> {
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.with_added_extension("lock"))?;
        let flags = OpenFlags::default();
        let connection = Connection::open_with_flags_and_vfs(path, flags, "unix-none")?;
        let database = Self { connection, lock };
        database.with(|connection| {
            // Not `wal`, whose index is the process's, too.
            connection.pragma_update(None, "journal_mode", "truncate")?;
            connection.execute(
                "CREATE TABLE IF NOT EXISTS item (id INTEGER PRIMARY KEY, text TEXT NOT NULL)",
                (),
            )
        })?;
        Ok(database)
    }

    fn with<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, BoxError> {
        self.lock.lock()?;
        let result = work(&self.connection);
        self.lock.unlock()?;
        Ok(result?)
    }
}

impl Store {
    pub(crate) fn open(path: &Path) -> Result<Self, BoxError> {
        let database = Database::open(path)
            .map_err(|error| format!("database {}: {error}", path.display()))?;
        Ok(Self(Arc::new(Mutex::new(Some(database)))))
    }

    pub(crate) fn close(&self) {
        let database = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Database { connection, .. }) = database else {
            return;
        };
        if let Err((_, error)) = connection.close() {
            tracing::error!(%error, "the database did not close");
        }
    }

    pub(crate) async fn list(&self) -> Result<Vec<Item>, BoxError> {
        self.run(|connection| {
            connection
                .prepare_cached("SELECT id, text FROM item ORDER BY id")?
                .query_map((), |row| {
                    Ok(Item {
                        id: row.get(0)?,
                        text: row.get(1)?,
                    })
                })?
                .collect()
        })
        .await
    }

    pub(crate) async fn add(&self, text: String) -> Result<Item, BoxError> {
        self.run(|connection| {
            connection.execute("INSERT INTO item (text) VALUES (?1)", [&text])?;
            let id = connection.last_insert_rowid();
            Ok(Item { id, text })
        })
        .await
    }

    /// Whether there was such an item.
    pub(crate) async fn remove(&self, id: i64) -> Result<bool, BoxError> {
        self.run(move |connection| {
            Ok(connection.execute("DELETE FROM item WHERE id = ?1", [id])? > 0)
        })
        .await
    }

    /// Runs `work` on a thread that may block: a handler shares its thread with other requests.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, BoxError> {
        let store = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || {
            let store = store.lock().unwrap_or_else(PoisonError::into_inner);
            store.as_ref().ok_or("it has been closed")?.with(work)
        })
        .await?
    }
}
