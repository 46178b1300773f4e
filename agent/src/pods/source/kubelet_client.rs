//! One question to the kubelet: GET /pods, on a connection of its own.
//!
//! Knows nothing of when to ask. Token and certificates are read for every question, so that rotation needs no care; an answer
//! is bounded in time and size.

use std::{fs, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::{
    Request, StatusCode, Uri,
    body::Bytes,
    client::conn::http1,
    header::{AUTHORIZATION, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{
    explain::{chain, words},
    kubelet_trust::{Trust, TrustError},
};
use crate::pods::{
    object::PodObject,
    pod::{Pod, PodError},
};

/// The largest answer: some hundred pods of at most 1.5 MB each (etcd's limit), which in practice have 10 to 50 kB.
pub(super) const MAX_BODY: usize = 64 << 20;

/// The longest that one question may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Where the kubelet is, and how we and it prove who we are.
#[derive(Clone, Debug)]
pub struct KubeletConfig {
    /// `https://HOST:PORT`; the path is ours.
    pub url: Uri,
    /// How its certificate is checked.
    pub trust: Trust,
    /// The service account's token.
    pub token_file: PathBuf,
    /// This node's own addresses, to which unverified connections are allowed.
    pub node_addresses: Vec<IpAddr>,
}

/// The kubelet cannot be asked like this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KubeletConfigError {
    /// Not such a URL.
    #[error("the kubelet's URL is `{0}`; allowed is https://HOST[:PORT]")]
    Url(String),
    /// A certificate that nobody checks, far away.
    #[error(
        "the kubelet at `{0}` is not this node (loopback or one of its addresses): give its CA or its certificate \
        (--kubelet-ca, --kubelet-certificate)"
    )]
    Unverified(String),
}

/// Why the kubelet gave no pods.
#[derive(Debug, thiserror::Error)]
pub enum KubeletError {
    /// The token cannot be read.
    #[error("the service account's token {} cannot be used", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Its certificate cannot be checked.
    #[error("the kubelet's certificate cannot be checked")]
    Trust(#[from] TrustError),
    /// Nobody listens, or nobody can be reached.
    #[error("the kubelet at {authority} cannot be reached (is it running, and is this its address?)")]
    Connect {
        /// Host and port.
        authority: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not the one that it should be, or speaks no TLS.
    #[error("the kubelet at {authority} is not trusted (--kubelet-ca or --kubelet-certificate name what it presents)")]
    Tls {
        /// Host and port.
        authority: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The connection broke, or what came was no HTTP.
    #[error("the kubelet's answer is broken")]
    Http(#[from] hyper::Error),
    /// The request could not be made.
    #[error("the kubelet's address makes no request")]
    Request(#[from] hyper::http::Error),
    /// It does not know who we are.
    #[error(
        "the kubelet did not accept the service account's token (401): it needs webhook authentication \
        (authentication.webhook.enabled), or use --pod-source apiserver"
    )]
    Unauthorized,
    /// It knows who we are, and does not like it.
    #[error(
        "the kubelet refused nodes/pods (fine-grained authorization, Kubernetes 1.33+): grant `get` on nodes/pods with the \
        ClusterRole of the chart; older kubelets take nodes/proxy only, which allows much more; or use --pod-source \
        apiserver. It said: {0}"
    )]
    Forbidden(String),
    /// Another status.
    #[error("the kubelet answered {0}")]
    Status(StatusCode),
    /// The answer is too large.
    #[error("the kubelet's answer is larger than {} MiB", MAX_BODY >> 20)]
    TooLarge,
    /// The answer took too long.
    #[error("the kubelet did not answer within {PATIENCE:?}")]
    TimedOut,
    /// The body broke off.
    #[error("the kubelet's answer broke off: {0}")]
    Body(String),
    /// The answer is no PodList.
    #[error("the kubelet's answer is no PodList")]
    NotPods(#[from] serde_json::Error),
}

impl KubeletConfig {
    /// Checks what can be checked without asking.
    ///
    /// # Errors
    /// For a URL that is not https, or an unverified kubelet elsewhere.
    pub fn check(&self) -> Result<(), KubeletConfigError> {
        let host = self.url.host().filter(|_| self.url.scheme_str() == Some("https"));
        let host = host.ok_or_else(|| KubeletConfigError::Url(self.url.to_string()))?;
        if self.trust.suits(host, &self.node_addresses) {
            Ok(())
        } else {
            Err(KubeletConfigError::Unverified(host.to_owned()))
        }
    }

    /// Every pod that the kubelet has, and what is wrong with those that are left out.
    ///
    /// # Errors
    /// When there is no answer, or one that is no list of pods.
    pub async fn pods(&self) -> Result<(Vec<Pod>, Vec<PodError>), KubeletError> {
        let body = tokio::time::timeout(PATIENCE, self.ask()).await.map_err(|_| KubeletError::TimedOut)??;
        Ok(parse(&body)?)
    }

    async fn ask(&self) -> Result<Bytes, KubeletError> {
        let token = self.token()?;
        let host = self.url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let authority = format!("{}:{}", self.url.host().unwrap_or_default(), self.port());
        let server = ServerName::try_from(host.to_owned()).map_err(|error| KubeletError::Tls {
            authority: authority.clone(),
            source: std::io::Error::other(error),
        })?;
        let tls = TlsConnector::from(Arc::new(self.trust.tls()?));
        let tcp = TcpStream::connect((host, self.port()))
            .await
            .map_err(|source| KubeletError::Connect { authority: authority.clone(), source })?;
        let stream = tls
            .connect(server, tcp)
            .await
            .map_err(|source| KubeletError::Tls { authority: authority.clone(), source })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::get("/pods").header(HOST, &authority).header(AUTHORIZATION, token);
        let request = request.body(Empty::<Bytes>::new())?;
        let exchange = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_BODY).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() { KubeletError::TooLarge } else { KubeletError::Body(chain(&*error)) }
            })?;
            let body = body.to_bytes();
            match status {
                StatusCode::OK => Ok(body),
                StatusCode::UNAUTHORIZED => Err(KubeletError::Unauthorized),
                StatusCode::FORBIDDEN => Err(KubeletError::Forbidden(words(&String::from_utf8_lossy(&body)))),
                other => Err(KubeletError::Status(other)),
            }
        };
        tokio::pin!(exchange, connection);
        // The connection is driven until the exchange is over, and then dropped with it.
        let mut driven = false;
        loop {
            tokio::select! {
                answer = &mut exchange => return answer,
                ended = &mut connection, if !driven => { driven = true; ended?; }
            }
        }
    }

    fn port(&self) -> u16 {
        self.url.port_u16().unwrap_or(443)
    }

    fn token(&self) -> Result<HeaderValue, KubeletError> {
        let fault = |source| KubeletError::Token { path: self.token_file.clone(), source };
        let token = fs::read_to_string(&self.token_file).map_err(|error| fault(error.into()))?;
        let mut value =
            HeaderValue::try_from(format!("Bearer {}", token.trim())).map_err(|error| fault(error.into()))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// What a kubelet sends; no items are `null` in Go.
#[derive(serde::Deserialize)]
struct PodList {
    kind: String,
    items: Option<Vec<PodObject>>,
}

/// The pods of a kubelet's answer (a PodList as JSON), and what is wrong with those that are left out.
///
/// # Errors
/// For bytes that are no PodList.
pub fn parse(body: &[u8]) -> Result<(Vec<Pod>, Vec<PodError>), serde_json::Error> {
    let list: PodList = serde_json::from_slice(body)?;
    // Without this, `{}` would be a node without pods.
    if list.kind != "PodList" {
        return Err(serde::de::Error::custom("its kind is not PodList"));
    }
    let (mut pods, mut faults) = (Vec::new(), Vec::new());
    for pod in list.items.iter().flatten() {
        match Pod::try_from(pod) {
            Ok(pod) => pods.push(pod),
            Err(fault) => faults.push(fault),
        }
    }
    Ok((pods, faults))
}

#[cfg(test)]
#[path = "kubelet_client_tests.rs"]
mod tests;
