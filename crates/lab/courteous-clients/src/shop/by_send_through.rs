//! A shop's API, called by reqwest through a stack.

use std::{error::Error, time::Duration};

use courteous::{
    Courteous, Stack,
    reqwest::{ReqwestService, SendThrough},
};
use reqwest::{Client, multipart};
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[derive(Debug)]
pub struct Shop {
    client: Client,
    polite: Courteous<ReqwestService>,
    url: String,
    token: String,
}

impl Shop {
    pub fn new(url: String, token: String) -> Result<Self> {
        let client = Client::builder().cookie_store(true);
        let client = client.retry(reqwest::retry::never()).build()?;
        let polite = Stack::new().build()?.layer(client.clone().into());
        Ok(Self {
            client,
            polite,
            url,
            token,
        })
    }

    pub async fn log_in(&self, name: &str) -> Result<()> {
        let request = self.client.put(format!("{}/session", self.url));
        let request = request.json(&json!({ "name": name }));
        let response = request.send_through(&self.polite).await?;
        response.error_for_status()?;
        Ok(())
    }

    pub async fn find(&self, words: &str) -> Result<Vec<String>> {
        let request = self.client.get(format!("{}/items", self.url));
        let request = request.query(&[("q", words)]);
        let response = request.send_through(&self.polite).await?;
        Ok(response.error_for_status()?.json().await?)
    }

    pub async fn order(&self, key: &str, item: &str) -> Result<Value> {
        let request = self.client.post(format!("{}/orders", self.url));
        let request = request
            .bearer_auth(&self.token)
            .header("idempotency-key", key);
        let request = request.json(&json!({ "item": item }));
        let response = request.send_through(&self.polite).await?;
        Ok(response.error_for_status()?.json().await?)
    }

    pub async fn add_picture(&self, item: &str, picture: Vec<u8>) -> Result<()> {
        let part = multipart::Part::bytes(picture).file_name("picture.png");
        let request = self.client.put(format!("{}/pictures/{item}", self.url));
        let request = request.multipart(multipart::Form::new().part("picture", part));
        let response = request.send_through(&self.polite).await?;
        response.error_for_status()?;
        Ok(())
    }

    /// Where it is now, and its text.
    pub async fn manual(&self) -> Result<(String, String)> {
        let request = self.client.get(format!("{}/manual", self.url));
        let response = request.send_through(&self.polite).await?;
        let response = response.error_for_status()?;
        Ok((response.url().path().to_owned(), response.text().await?))
    }

    pub async fn stock(&self, item: &str) -> Result<u64> {
        let request = self.client.get(format!("{}/stock/{item}", self.url));
        let request = request.timeout(Duration::from_millis(500));
        let response = request.send_through(&self.polite).await?;
        Ok(response.error_for_status()?.json().await?)
    }
}
