//! Questions to the kubelet: GET /pods, on a connection that is kept.
//!
//! Token and certificates are read for every question, so that rotation needs no care: another certificate takes another
//! connection. An answer is bounded in time and size. kube's client is not used: it has no place for a pinned certificate, and
//! keeps a token for a minute.

use std::{error::Error as _, fs, io, net::IpAddr, path::PathBuf, time::Duration};

use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::{
    Request, StatusCode, Uri,
    body::Bytes,
    header::{AUTHORIZATION, HeaderValue},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, Error, connect::HttpConnector},
    rt::TokioExecutor,
};

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
        source: Error,
    },
    /// It is not the one that it should be, or speaks no TLS.
    #[error("the kubelet at {authority} is not trusted (--kubelet-ca or --kubelet-certificate name what it presents)")]
    Tls {
        /// Host and port.
        authority: String,
        /// Why.
        #[source]
        source: Error,
    },
    /// The connection broke, or what came was no HTTP.
    #[error("the kubelet's answer is broken")]
    Http(#[source] Error),
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
    #[error("the kubelet's answer is not a PodList")]
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

    fn token(&self) -> Result<HeaderValue, KubeletError> {
        let fault = |source| KubeletError::Token { path: self.token_file.clone(), source };
        let token = fs::read_to_string(&self.token_file).map_err(|error| fault(error.into()))?;
        let mut value =
            HeaderValue::try_from(format!("Bearer {}", token.trim())).map_err(|error| fault(error.into()))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// Asks one kubelet.
pub(super) struct KubeletClient {
    config: KubeletConfig,
    /// With the certificates that it trusts.
    client: Option<(Vec<u8>, Https)>,
}

type Https = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

impl KubeletClient {
    pub(super) fn new(config: KubeletConfig) -> Self {
        Self { config, client: None }
    }

    /// Every pod that the kubelet has, and what is wrong with those that are left out.
    ///
    /// # Errors
    /// When there is no answer, or one that is no list of pods.
    pub(super) async fn pods(&mut self) -> Result<(Vec<Pod>, Vec<PodError>), KubeletError> {
        let body = tokio::time::timeout(PATIENCE, self.ask()).await.map_err(|_| KubeletError::TimedOut)??;
        Ok(parse(&body)?)
    }

    async fn ask(&mut self) -> Result<Bytes, KubeletError> {
        let authority = self.config.url.authority().map(ToString::to_string).unwrap_or_default();
        let request = Request::get(format!("https://{authority}/pods")).header(AUTHORIZATION, self.config.token()?);
        let asked = self.client()?.request(request.body(Empty::new())?).await;
        let response = asked.map_err(|source| match source.source() {
            // What TLS says comes as an I/O error; what its connector meets before that has a type of its own.
            Some(cause) if source.is_connect() && cause.is::<io::Error>() => KubeletError::Tls { authority, source },
            _ if source.is_connect() => KubeletError::Connect { authority, source },
            _ => KubeletError::Http(source),
        })?;
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
    }

    /// The client that trusts what there is to trust now.
    fn client(&mut self) -> Result<&Https, KubeletError> {
        let certificates = self.config.trust.certificates()?;
        let kept = self.client.take().filter(|(trusted, _)| *trusted == certificates);
        let client = match kept {
            Some((_, client)) => client,
            None => {
                let tls = self.config.trust.tls(&certificates)?;
                let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().build();
                Client::builder(TokioExecutor::new()).build(connector)
            }
        };
        Ok(&self.client.insert((certificates, client)).1)
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
mod tests;
