//! Benchmark peer: the KeyValueBasic service over a map, on one thread.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;

use bytes::Bytes;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

pub mod prism {
    pub mod common {
        tonic::include_proto!("prism.common");
    }
    pub mod interfaces {
        pub mod keyvalue {
            tonic::include_proto!("prism.interfaces.keyvalue");
        }
    }
}

use prism::interfaces::keyvalue::key_value_basic_interface_server::{
    KeyValueBasicInterface, KeyValueBasicInterfaceServer,
};
use prism::interfaces::keyvalue::*;

#[derive(Default)]
struct Store(Mutex<HashMap<String, Bytes>>);

#[tonic::async_trait]
impl KeyValueBasicInterface for Store {
    async fn set(&self, request: Request<SetRequest>) -> Result<Response<SetResponse>, Status> {
        let SetRequest { key, value, .. } = request.into_inner();
        // A `Bytes` is a slice of the receive buffer; storing it would pin the whole buffer.
        self.0.lock().unwrap().insert(key, Bytes::copy_from_slice(&value));
        Ok(Response::new(SetResponse { success: true, error: String::new() }))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let value = self.0.lock().unwrap().get(&request.into_inner().key).cloned();
        Ok(Response::new(GetResponse {
            found: value.is_some(),
            value: value.unwrap_or_default(),
            error: String::new(),
        }))
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Result<Response<DeleteResponse>, Status> {
        self.0.lock().unwrap().remove(&request.into_inner().key);
        Ok(Response::new(DeleteResponse { success: true, error: String::new() }))
    }

    async fn exists(&self, request: Request<ExistsRequest>) -> Result<Response<ExistsResponse>, Status> {
        let exists = self.0.lock().unwrap().contains_key(&request.into_inner().key);
        Ok(Response::new(ExistsResponse { exists, error: String::new() }))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address: SocketAddr = std::env::args().nth(1).ok_or("usage: tonic-peer HOST:PORT")?.parse()?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(
        Server::builder().add_service(KeyValueBasicInterfaceServer::new(Store::default())).serve(address),
    )?;
    Ok(())
}
