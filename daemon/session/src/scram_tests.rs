//! Tests of the SCRAM exchange: the vectors of RFC 5802 §5 and RFC 7677 §3, and what must be refused.
use super::*;
use crate::TlsVersion;
use crate::keys::derive_keys;

fn tls(exporter: Option<[u8; 32]>, end_point: &[u8]) -> TlsFacts {
    TlsFacts {
        version: TlsVersion::Tls13,
        suite: "TLS13_AES_128_GCM_SHA256",
        sni: None,
        alpn: None,
        resumed: false,
        exporter,
        server_end_point: end_point.to_vec(),
    }
}

/// The exchange with the server's nonce of the vector put in place of a random one.
fn exchange(first: &str, server_nonce: &str, hash: ScramHash, keys: ScramKeys) -> Exchange {
    let first = ClientFirst::read(first.as_bytes(), false, &tls(None, &[])).expect("a first message");
    let (mut exchange, _) = Exchange::challenge(first, hash, keys, [0; NONCE_BYTES]);
    exchange.nonce = format!("{}{server_nonce}", exchange.first.nonce);
    exchange.server_first = format!(
        "r={},s={},i={}",
        exchange.nonce,
        STANDARD.encode(&exchange.keys.salt),
        exchange.keys.iterations
    );
    exchange
}

#[test]
fn vector_of_rfc_5802() {
    let salt = STANDARD.decode("QSXCR+Q6sek8bf92").expect("base64");
    let keys = derive_keys("pencil", &salt, 4096, ScramHash::Sha1).expect("a password");
    let e = exchange("n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL", "3rfcNHYJY1ZVvWVs7j", ScramHash::Sha1, keys);
    let last = "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=";
    assert_eq!(e.finish(last.as_bytes()), Ok("v=rmF9pqV8S7suAoZWja4dJRkFsKQ=".to_owned()));
}

#[test]
fn vector_of_rfc_7677() {
    let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
    let keys = derive_keys("pencil", &salt, 4096, ScramHash::Sha256).expect("a password");
    let e = exchange(
        "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
        "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
        ScramHash::Sha256,
        keys,
    );
    let last = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    assert_eq!(e.finish(last.as_bytes()), Ok("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=".to_owned()));
    let wrong = last.replace("dHzb", "dHzc");
    assert_eq!(e.finish(wrong.as_bytes()), Err(ScramError::Refused));
    let nonce = last.replace("k0,p", "k1,p");
    assert_eq!(e.finish(nonce.as_bytes()), Err(ScramError::Refused));
    let header = last.replace("c=biws", "c=eSws");
    assert_eq!(e.finish(header.as_bytes()), Err(ScramError::Refused));
    for malformed in
        ["", "c=biws", "c=biws,p=AAAA", "r=x,c=biws,p=AAAA", "c=biws,r=x,p=@", "c=biws,r=x,=,p=AAAA"]
    {
        assert_eq!(e.finish(malformed.as_bytes()), Err(ScramError::Malformed), "{malformed}");
    }
}

#[test]
fn names_are_unescaped_and_nothing_else_is_an_escape() {
    let read = |m: &str| ClientFirst::read(m.as_bytes(), false, &tls(None, &[]));
    let first = read("n,a=x=3D@y,n=a=2Cb=3Dc,r=q,e=1").expect("a first message");
    assert_eq!((first.user.as_str(), first.authzid.as_deref()), ("a,b=c", Some("x=@y")));
    let malformed = [
        "n,,n=a=2c,r=q",
        "n,,n=a=,r=q",
        "n,,n=,r=q",
        "n,,n=a,r=",
        "n,,n=a,r=q\u{e4}",
        "n,,m=x,n=a,r=q",
        "n,,n=a",
        "n,b=x,n=a,r=q",
        "n,a=,n=a,r=q",
        "x,,n=a,r=q",
        "p=tls-exporter,,n=a,r=q",
        "",
        ",,",
        "n,,n=a,r=q,",
        "n,,n=a,r=q,1=x",
    ];
    for message in malformed {
        assert_eq!(read(message), Err(ScramError::Malformed), "{message}");
    }
    assert_eq!(ClientFirst::read(b"n,,n=\xff,r=q", false, &tls(None, &[])), Err(ScramError::Malformed));
}

#[test]
fn channel_binding_is_of_this_connection_and_cannot_be_downgraded() {
    let both = tls(Some([5; 32]), b"hash");
    let old = tls(None, b"hash");
    let none = tls(None, b"");
    let read = |m: &str, plus, tls: &TlsFacts| ClientFirst::read(m.as_bytes(), plus, tls).map(|f| f.binding);
    let exporter = [b"p=tls-exporter,,".as_slice(), &[5; 32]].concat();
    assert_eq!(read("p=tls-exporter,,n=a,r=q", true, &both), Ok(exporter));
    assert_eq!(
        read("p=tls-server-end-point,,n=a,r=q", true, &old),
        Ok(b"p=tls-server-end-point,,hash".to_vec())
    );
    assert_eq!(read("p=tls-exporter,,n=a,r=q", true, &old), Err(ScramError::Refused));
    assert_eq!(read("p=tls-unique,,n=a,r=q", true, &both), Err(ScramError::Refused));
    assert_eq!(read("n,,n=a,r=q", true, &both), Err(ScramError::Malformed));
    assert_eq!(read("y,,n=a,r=q", true, &both), Err(ScramError::Malformed));
    assert_eq!(read("y,,n=a,r=q", false, &both), Err(ScramError::Refused));
    assert_eq!(read("y,,n=a,r=q", false, &none), Ok(b"y,,".to_vec()));
    assert_eq!(read("n,,n=a,r=q", false, &both), Ok(b"n,,".to_vec()));
}
