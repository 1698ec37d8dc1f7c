//! A component that misbehaves in every way that the host's limits are for.

#![cfg(target_family = "wasm")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::mem::forget;

use exports::test::hostile::misdeeds::Guest;
use wasi::cli::environment::get_environment;
use wasi::clocks::monotonic_clock::subscribe_duration;
use wasi::http::outgoing_handler::handle;
use wasi::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest, Scheme,
};
use wasi::io::streams::StreamError;

wit_bindgen::generate!({ world: "hostile", path: "wit" });

struct Hostile;

export!(Hostile);

fn variable(name: &str) -> String {
    get_environment().into_iter().find_map(|(known, value)| (known == name).then_some(value)).unwrap_or_default()
}

/// Scheme and authority of the configured address.
fn configured() -> (String, String) {
    let base = variable("MEMBERSPOT_BASE_URL");
    let (scheme, authority) = base.split_once("://").unwrap();
    (scheme.to_owned(), authority.to_owned())
}

fn request(headers: Fields, scheme: &str, authority: &str, path: &str) -> OutgoingRequest {
    let request = OutgoingRequest::new(headers);
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    };
    request.set_scheme(Some(&scheme)).unwrap();
    request.set_authority(Some(authority)).unwrap();
    request.set_path_with_query(Some(path)).unwrap();
    request
}

/// To the configured address.
fn own(path: &str) -> OutgoingRequest {
    let (scheme, authority) = configured();
    request(Fields::new(), &scheme, &authority, path)
}

fn send(path: &str) -> FutureIncomingResponse {
    handle(own(path), None).unwrap()
}

fn named(code: ErrorCode) -> String {
    format!("{code:?}")
}

fn answer(response: &FutureIncomingResponse) -> Result<IncomingResponse, String> {
    response.subscribe().block();
    response.get().unwrap().unwrap().map_err(named)
}

fn status(request: OutgoingRequest) -> Result<u16, String> {
    Ok(answer(&handle(request, None).map_err(named)?)?.status())
}

/// Hands the body to `take`, piece by piece.
fn read(body: &IncomingBody, mut take: impl FnMut(&[u8])) -> Result<(), String> {
    let stream = body.stream().unwrap();
    loop {
        match stream.blocking_read(1 << 16) {
            Ok(piece) => take(&piece),
            Err(StreamError::Closed) => return Ok(()),
            Err(StreamError::LastOperationFailed(error)) => return Err(error.to_debug_string()),
        }
    }
}

fn hexadecimal(bytes: impl ExactSizeIterator<Item = u8>) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

#[inline(never)]
#[allow(unconditional_recursion)]
fn deeper(depth: u64) -> u64 {
    // Twice, so that it cannot become a loop.
    deeper(depth.wrapping_add(1)).wrapping_mul(31) ^ deeper(depth.wrapping_mul(3))
}

#[inline(never)]
#[allow(unconditional_recursion)]
fn deeper_with_data(depth: u64) -> u64 {
    let data = black_box([depth; 64]);
    black_box(deeper_with_data(data[7] + 1)) + data[11]
}

#[allow(clippy::cast_possible_truncation)]
impl Guest for Hostile {
    fn spin() {
        loop {
            black_box(0);
        }
    }

    fn take_memory() {
        loop {
            forget(black_box(vec![1_u8; 1 << 20]));
        }
    }

    fn recurse(depth: u64) -> u64 {
        deeper(depth)
    }

    fn recurse_with_data() -> u64 {
        deeper_with_data(0)
    }

    fn flood(requests: u32) -> u32 {
        (0..requests).filter(|_| answer(&send("/ok")).is_ok()).count() as u32
    }

    fn open(requests: u32) -> u32 {
        let open: Vec<_> = (0..requests).map(|_| send("/ok")).collect();
        open.iter().filter(|response| answer(response).is_ok()).count() as u32
    }

    fn open_and_trap(requests: u32) {
        let _open: Vec<_> = (0..requests).map(|_| send("/silent")).collect();
        // This is answered when they have arrived.
        let _ = answer(&send("/when-open"));
        core::arch::wasm32::unreachable();
    }

    fn leak_handles() {
        loop {
            forget(Fields::new());
        }
    }

    fn leak_requests() {
        loop {
            forget(send("/silent"));
        }
    }

    fn text(bytes: u32) -> String {
        "x".repeat(bytes as usize)
    }

    fn numbers(length: u32) -> Vec<u32> {
        vec![7; length as usize]
    }

    #[allow(unsafe_code)]
    fn same_text(texts: u32, bytes: u32) -> Vec<String> {
        let text = "x".repeat(bytes as usize).leak();
        // SAFETY: none. Two strings own the same memory, which is freed twice at the end; the host has read them by then.
        let same = || unsafe { String::from_raw_parts(text.as_mut_ptr(), text.len(), text.len()) };
        let mut list = Vec::with_capacity(texts as usize);
        list.extend(std::iter::repeat_with(same).take(texts as usize));
        list
    }

    fn headers(count: u32, bytes: u32) -> Result<u16, String> {
        let headers = Fields::new();
        for number in 0..count {
            headers.append(&format!("x-{number}"), &vec![b'x'; bytes as usize]).map_err(|error| format!("{error:?}"))?;
        }
        let (scheme, authority) = configured();
        status(request(headers, &scheme, &authority, "/ok"))
    }

    fn upload() -> Result<u16, String> {
        let request = own("/sink");
        request.set_method(&Method::Post).unwrap();
        let body = request.body().unwrap();
        let response = handle(request, None).map_err(named)?;
        let stream = body.write().unwrap();
        let piece = [b'x'; 4096];
        while stream.blocking_write_and_flush(&piece).is_ok() {}
        drop(stream);
        let _ = OutgoingBody::finish(body, None);
        answer(&response).map(|response| response.status())
    }

    fn download(path: String) -> Result<u64, String> {
        let response = answer(&send(&path))?;
        let body = response.consume().unwrap();
        let mut bytes = 0;
        read(&body, |piece| bytes += piece.len() as u64)?;
        Ok(bytes)
    }

    fn poll() {
        loop {
            subscribe_duration(0).block();
        }
    }

    fn sleep() {
        loop {
            subscribe_duration(u64::MAX).block();
        }
    }

    fn wait(path: String) -> Result<u16, String> {
        Ok(answer(&send(&path))?.status())
    }

    fn fetch(scheme: String, authority: String, path: String, key: Option<String>) -> Result<u16, String> {
        let headers = Fields::new();
        let key = key.unwrap_or_else(|| variable("MEMBERSPOT_API_KEY"));
        headers.append("x-api-key", key.as_bytes()).unwrap();
        status(request(headers, &scheme, &authority, &path))
    }

    #[allow(unsafe_code)]
    fn dump() -> (String, String, String) {
        let environment = format!("{:?}", get_environment());
        let key = variable("MEMBERSPOT_API_KEY");
        let headers = Fields::new();
        for name in ["x-api-key", "x-copy", "x-api-key", "x-api-key2", "authorization"] {
            headers.append(name, key.as_bytes()).unwrap();
        }
        headers.append("x-api-key", format!("<{key}>").as_bytes()).unwrap();
        let (scheme, authority) = configured();
        let request = request(headers, &scheme, &authority, &format!("/echo?key={key}"));
        request.set_method(&Method::Post).unwrap();
        let body = request.body().unwrap();
        let response = handle(request, None).unwrap();
        let stream = body.write().unwrap();
        stream.blocking_write_and_flush(key.as_bytes()).unwrap();
        drop(stream);
        OutgoingBody::finish(body, None).unwrap();
        let response = answer(&response).unwrap();
        let mut echoed = Vec::new();
        for (name, value) in response.headers().entries() {
            echoed.extend_from_slice(name.as_bytes());
            echoed.extend_from_slice(&value);
        }
        let body = response.consume().unwrap();
        read(&body, |piece| echoed.extend_from_slice(piece)).unwrap();
        let echoed = hexadecimal(echoed.into_iter());
        // As it is before the digits are written to it. Nothing is at the address 0.
        let end = core::arch::wasm32::memory_size(0) << 16;
        // SAFETY: none that Rust knows of, but all of a memory can be read.
        let byte = |address| unsafe { std::ptr::with_exposed_provenance::<u8>(address).read_volatile() };
        (environment, echoed, hexadecimal((1..end).map(byte)))
    }
}
