//! A to-do list as a thin bridge: this library turns HTTP into calls of a store and back, and
//! what must last longer than one generation is in the store's file.

mod store;

use std::path::PathBuf;

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{delete, get},
};
use replug_plugin::{BoxError, Setup, export_app};
use serde::Deserialize;

use store::{Item, Store};

export_app!(app);

#[derive(Deserialize)]
struct Settings {
    /// Relative to the host's current directory.
    #[serde(default = "default_database")]
    database: PathBuf,
}

fn default_database() -> PathBuf {
    "todo.db".into()
}

fn app(setup: &mut Setup) -> Result<Router, BoxError> {
    let settings: Settings = setup.settings()?;
    let store = Store::open(&settings.database)?;
    let last = store.clone();
    setup
        .on_cleanup(move || {
            last.close();
            store::give_memory_back();
        })
        .name("database");
    Ok(Router::new()
        .route("/", get(list).post(add))
        .route("/{id}", delete(remove))
        .with_state(store))
}

async fn list(State(store): State<Store>) -> Result<Json<Vec<Item>>, Failure> {
    Ok(Json(store.list().await?))
}

#[derive(Deserialize)]
struct NewItem {
    text: String,
}

async fn add(
    State(store): State<Store>,
    Json(new): Json<NewItem>,
) -> Result<(StatusCode, Json<Item>), Failure> {
    Ok((StatusCode::CREATED, Json(store.add(new.text).await?)))
}

async fn remove(State(store): State<Store>, Path(id): Path<i64>) -> Result<StatusCode, Failure> {
    Ok(if store.remove(id).await? {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::NOT_FOUND
    })
}

/// The log says why; the client only learns that it was not its fault.
struct Failure(BoxError);

impl<E: Into<BoxError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        tracing::error!(error = self.0, "database");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use http_body_util::BodyExt as _;
    use serde_json::{Value, json};
    use tower::ServiceExt as _;

    use super::*;

    async fn call(router: &Router, method: &str, uri: &str, body: Value) -> (StatusCode, Value) {
        let request = Request::builder().method(method).uri(uri);
        let request = request.header("content-type", "application/json");
        let request = request.body(Body::from(body.to_string())).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    #[tokio::test]
    async fn items_outlive_the_generation_that_took_them() {
        let folder = tempfile::tempdir().unwrap();
        let settings = json!({ "database": folder.path().join("todo.db") });
        let start = || app(&mut Setup::detached("todo").with_settings(&settings)).unwrap();

        let old = start();
        let milk = json!({ "id": 1, "text": "milk" });
        let added = call(&old, "POST", "/", json!({ "text": "milk" })).await;
        assert_eq!(added, (StatusCode::CREATED, milk.clone()));

        let new = start();
        let listed = call(&new, "GET", "/", Value::Null).await;
        assert_eq!(listed, (StatusCode::OK, json!([milk])));
        let removed = call(&new, "DELETE", "/1", Value::Null).await;
        assert_eq!(removed.0, StatusCode::NO_CONTENT);
        let again = call(&new, "DELETE", "/1", Value::Null).await;
        assert_eq!(again.0, StatusCode::NOT_FOUND);
        assert_eq!(call(&old, "GET", "/", Value::Null).await.1, json!([]));
    }

    #[test]
    fn two_generations_that_write_at_once_lose_nothing() {
        const EACH: usize = 60;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("todo.db");
        let write = |name: &'static str| {
            let path = path.clone();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build();
                runtime.unwrap().block_on(async {
                    for number in 0..EACH {
                        // Opened and closed again and again, as by reloads.
                        let store = Store::open(&path).unwrap();
                        store.add(format!("{name} {number}")).await.unwrap();
                        store.close();
                    }
                });
            })
        };
        let writers = [write("old"), write("new")];
        for writer in writers {
            writer.join().unwrap();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let list = Store::open(&path).unwrap();
        let list = runtime.unwrap().block_on(list.list()).unwrap();
        assert_eq!(list.len(), EACH * 2);
    }

    #[test]
    fn a_database_that_cannot_be_opened_refuses_the_generation() {
        let settings = json!({ "database": "/no/such/folder/todo.db" });
        let error = app(&mut Setup::detached("todo").with_settings(&settings)).unwrap_err();
        assert!(error.to_string().contains("/no/such/folder/todo.db"));
    }
}
