//! Ctrl-C, for commands that end in good order.

use tokio::sync::watch;

/// Ctrl-C, how often it was pressed.
#[derive(Clone)]
pub struct Interrupt(watch::Receiver<u32>);

impl Interrupt {
    /// Listens from now on, on the current tokio runtime.
    pub fn listen() -> Self {
        let (sender, receiver) = watch::channel(0);
        tokio::spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                sender.send_modify(|times| *times += 1);
            }
            // Where there are no signals, nobody sends one: those who wait go on waiting.
            std::future::pending::<()>().await;
        });
        Self(receiver)
    }

    /// Waits until it was pressed so many times.
    pub async fn pressed(&mut self, times: u32) {
        if self.0.wait_for(|pressed| *pressed >= times).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether it was pressed.
    pub fn is_pressed(&self) -> bool {
        *self.0.borrow() > 0
    }
}
