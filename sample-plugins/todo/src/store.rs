//! The list in its SQLite file.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use replug_plugin::BoxError;
use rusqlite::Connection;
use serde::Serialize;

#[derive(Serialize)]
pub(crate) struct Item {
    id: i64,
    text: String,
}

/// `None` once it has been closed.
#[derive(Clone)]
pub(crate) struct Store(Arc<Mutex<Option<Connection>>>);

impl Store {
    pub(crate) fn open(path: &Path) -> Result<Self, BoxError> {
        let open = || {
            let connection = Connection::open(path)?;
            // The generation before may still be answering with the same file.
            connection.busy_timeout(Duration::from_secs(5))?;
            connection.pragma_update(None, "journal_mode", "wal")?;
            connection.execute(
                "CREATE TABLE IF NOT EXISTS item (id INTEGER PRIMARY KEY, text TEXT NOT NULL)",
                (),
            )?;
            Ok(connection)
        };
        let connection = open()
            .map_err(|error: rusqlite::Error| format!("database {}: {error}", path.display()))?;
        Ok(Self(Arc::new(Mutex::new(Some(connection)))))
    }

    pub(crate) fn close(&self) {
        let connection = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Err((_, error))) = connection.map(Connection::close) {
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
            let connection = store.as_ref().ok_or("it has been closed")?;
            Ok(work(connection)?)
        })
        .await?
    }
}
