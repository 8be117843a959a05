//! An hour of orders on Black Friday, in seconds. The payment provider goes down in the middle of
//! it. At first its answers are lost although it has booked the orders, and then it refuses all
//! orders. No order may be lost, and none may be charged twice.
//!
//! ```text
//! cargo run --example black_friday
//! ```
//!
//! An order that could not be delivered goes into the dead-letter queue, here a file. When the
//! provider is healthy again, the queue is redriven by the same code that `courteous-dlq replay`
//! uses. The provider's ledger tells how often each customer was charged. The example ends with an
//! error if a customer was charged twice, or not at all.

use std::{
    collections::HashMap,
    error::Error,
    io,
    net::{Ipv4Addr, SocketAddr},
    process::ExitCode,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use courteous::{
    Courteous, ServiceBuilder, Stack, find_cause,
    idempotency::{IdempotencyKey, IdempotencyKeyLayer},
};
use courteous_dead_letter::{
    DeadLetter, DeadLetterLayer, DeadLettered, LetterStore, Redrive, Stats, Tags,
};
use courteous_dead_letter_sqlite::SqliteStore;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::Full;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    net::TcpListener,
    time::{Instant, interval, sleep},
};
use tower::ServiceExt;

const ORDERS: u32 = 600;
const MINUTES: u32 = 60;
/// A minute of the story.
const MINUTE: Duration = Duration::from_millis(100);
/// When the provider's answers begin to get lost, when it refuses all orders, and when it is
/// healthy again.
const ILL: u32 = 20;
const DOWN: u32 = 23;
const WELL: u32 = 42;
/// The longest that a customer waits.
const TIMEOUT: Duration = Duration::from_secs(1);

type Shop = IdempotencyKey<DeadLetter<Courteous<Client<HttpConnector, Full<Bytes>>>>>;

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let provider = Provider::start().await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("dead-letters.db");
    let queue = SqliteStore::open(&file)?;
    let shop = shop(provider.address, &queue)?;

    println!("Black Friday, 09:00 to 10:00: {ORDERS} orders, {MINUTE:?} a minute");
    let states = sell(&shop, &provider).await;
    print_hour(&states);

    let waiting = queue.stats().await?;
    let heard = states.iter().filter(|state| **state == OrderState::Charged);
    let unheard = provider.books().charged(1).saturating_sub(heard.count());
    println!("10:00  {}", describe(&waiting));
    println!(
        "       {unheard} of them were charged, only the answer was lost: charged again, they would have paid twice\n"
    );

    println!("$ courteous-dlq --store sqlite:{} replay", file.display());
    let start = Instant::now();
    let redrive = Redrive::new().with_total_timeout(TIMEOUT);
    let mut delivered = 0;
    // Once is enough, unless this machine is so slow that calls time out.
    for _ in 0..5 {
        delivered += redrive.run(&queue, shop.clone()).await?.delivered;
        if queue.stats().await?.undelivered() == 0 {
            break;
        }
    }
    println!(
        "{delivered} delivered in {:.1} s\n",
        start.elapsed().as_secs_f64()
    );

    let books = provider.books();
    let never = ORDERS as usize - books.charges.len();
    let (once, twice) = (books.charged(1), books.charges.len() - books.charged(1));
    println!("The provider's ledger: {once} charged once, {twice} twice or more, {never} never");
    println!(
        "{} requests came under a key that it knew, and charged nobody",
        books.repeated
    );

    let each_once = (once, twice, never) == (ORDERS as usize, 0, 0);
    let all_kept = !states.contains(&OrderState::Forgotten);
    let all_delivered = delivered > 0 && delivered == waiting.undelivered();
    Ok(match each_once && all_kept && all_delivered {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// The shop's client: the standard stack, with a queue for orders that it could not deliver.
fn shop(provider: SocketAddr, queue: &SqliteStore) -> Result<Shop, Box<dyn Error>> {
    let stack = Stack::new()
        .with_total_timeout(TIMEOUT)
        .with_attempt_timeout(TIMEOUT / 4)
        .build()?;
    let shop = ServiceBuilder::new()
        // The provider honours keys. Without one, an order whose answer was lost could not be sent again.
        .layer(IdempotencyKeyLayer::new().with_hosts([provider.to_string()])?)
        .layer(DeadLetterLayer::new(queue.clone()))
        .layer(stack)
        .service(Client::builder(TokioExecutor::new()).build_http());
    Ok(shop)
}

/// The state of an order, as far as the shop knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OrderState {
    Charged,
    /// The order failed, and is in the queue.
    Kept,
    /// The order failed, and is nowhere.
    Forgotten,
}

/// Sends an hour's orders as they arrive.
async fn sell(shop: &Shop, provider: &Provider) -> Vec<OrderState> {
    let mut clock = interval(MINUTE * MINUTES / ORDERS);
    let mut orders = Vec::new();
    for order in 0..ORDERS {
        clock.tick().await;
        provider.reach(order * MINUTES / ORDERS);
        orders.push(tokio::spawn(send(shop.clone(), provider.address, order)));
    }
    let mut states = Vec::new();
    for order in orders {
        states.push(order.await.unwrap_or(OrderState::Forgotten));
    }
    states
}

async fn send(shop: Shop, provider: SocketAddr, order: u32) -> OrderState {
    let request = Request::post(format!("http://{provider}/orders/{order}"))
        .extension(Tags::new().with("order", order.to_string()))
        .body(Full::from("one television"));
    let Ok(request) = request else {
        return OrderState::Forgotten;
    };
    let kept = match shop.oneshot(request).await {
        Ok(response) if response.status().is_success() => return OrderState::Charged,
        Ok(response) => DeadLettered::of(&response).is_some(),
        Err(error) => find_cause::<DeadLettered>(&*error).is_some(),
    };
    match kept {
        true => OrderState::Kept,
        false => OrderState::Forgotten,
    }
}

fn print_hour(states: &[OrderState]) {
    const PART: u32 = 10;
    println!("\n          orders   charged   kept in the queue");
    for (part, states) in states
        .chunks((ORDERS * PART / MINUTES) as usize)
        .enumerate()
    {
        let count = |state| states.iter().filter(|found| **found == state).count();
        let (charged, kept) = (count(OrderState::Charged), count(OrderState::Kept));
        println!(
            "09:{:02}  {:>10} {charged:>9} {kept:>19}",
            part as u32 * PART,
            states.len()
        );
    }
    println!();
}

fn describe(waiting: &Stats) -> String {
    let counts = waiting.counts.iter();
    let reasons: Vec<_> = counts
        .map(|count| format!("{} by {}", count.count, count.reason))
        .collect();
    format!(
        "{} orders wait: {}",
        waiting.undelivered(),
        reasons.join(", ")
    )
}

/// The payment provider.
struct Provider {
    address: SocketAddr,
    books: Arc<Mutex<Books>>,
}

/// What the provider has booked.
#[derive(Default)]
struct Books {
    /// The minute of the hour.
    minute: u32,
    /// How often each order was charged.
    charges: HashMap<u32, u32>,
    /// The orders that arrived under each key.
    keys: HashMap<String, u32>,
    /// Requests under a known key.
    repeated: u32,
}

impl Provider {
    async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let books = Arc::<Mutex<Books>>::default();
        let router = Router::new()
            .route("/orders/{order}", post(charge))
            .with_state(Arc::clone(&books));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, books })
    }

    /// Moves the clock to `minute`.
    fn reach(&self, minute: u32) {
        let before = std::mem::replace(&mut self.books().minute, minute);
        if before != minute {
            match minute {
                ILL => println!(
                    "09:{minute}  the payment provider books orders, and its answers are lost"
                ),
                DOWN => println!("09:{minute}  it answers every request with 503"),
                WELL => println!("09:{minute}  it is well again"),
                _ => {}
            }
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        lock(&self.books)
    }
}

impl Books {
    /// How many orders were charged `times` times.
    fn charged(&self, times: u32) -> usize {
        self.charges
            .values()
            .filter(|charges| **charges == times)
            .count()
    }

    fn charge(&mut self, order: u32, key: &str) {
        match self.keys.insert(key.to_owned(), order) {
            Some(_) => self.repeated += 1,
            None => *self.charges.entry(order).or_default() += 1,
        }
    }
}

async fn charge(
    State(books): State<Arc<Mutex<Books>>>,
    Path(order): Path<u32>,
    headers: HeaderMap,
) -> Response {
    let Some(key) = headers
        .get("idempotency-key")
        .and_then(|key| key.to_str().ok())
    else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let minute = lock(&books).minute;
    if (DOWN..WELL).contains(&minute) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    lock(&books).charge(order, key);
    if (ILL..DOWN).contains(&minute) {
        // A client that waits for this answer gives up.
        sleep(Duration::from_secs(60)).await;
    }
    StatusCode::CREATED.into_response()
}

fn lock(books: &Mutex<Books>) -> MutexGuard<'_, Books> {
    books.lock().unwrap_or_else(PoisonError::into_inner)
}
