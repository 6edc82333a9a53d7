//! Stream features, RFC 6120 §4.3.2: what the client may or must do next.

use crate::negotiation::Step;
use crate::sasl::Mechanism;
use crate::scram::offers_binding;
use crate::{Cx, TlsFacts, TlsVersion, ns};
use godwit_wire::Writer;

/// Appends `<stream:features/>` for what is expected next.
pub(crate) fn write(step: &Step, tls: Option<&TlsFacts>, cx: &mut Cx<'_>) {
    let mut w = Writer::new(&mut cx.out.bytes);
    w.start("stream:features");
    match (step, tls) {
        (Step::StartTls, _) => {
            w.start("starttls").attr("xmlns", ns::TLS).start("required").end().end();
        }
        (Step::Auth, Some(tls)) => {
            write_mechanisms(&mut w, tls);
            if cx.settings.register {
                w.empty("register", ns::REGISTER_FEATURE);
            }
        }
        _ => {
            w.empty("bind", ns::BIND);
            // RFC 3921 clients may ask for a session; those of today skip what is optional.
            w.start("session").attr("xmlns", ns::SESSION).start("optional").end().end();
            w.empty("sm", ns::SM).empty("csi", ns::CSI).raw(&cx.settings.features);
        }
    }
    w.end();
}

/// SASL mechanisms, best first, and the channel bindings for those with -PLUS (XEP-0440).
fn write_mechanisms(w: &mut Writer<'_>, tls: &TlsFacts) {
    w.start("mechanisms").attr("xmlns", ns::SASL);
    for mechanism in Mechanism::ALL.iter().filter(|m| m.offered(tls)) {
        w.start("mechanism").text(mechanism.name()).end();
    }
    w.end();
    if offers_binding(tls) {
        w.start("sasl-channel-binding").attr("xmlns", ns::CHANNEL_BINDING);
        // Not for TLS 1.2: there its clients disagree whether the exporter has an empty context or none (RFC
        // 9266 §2 wants an empty one; OpenSSL and GnuTLS give none by default), so that an honest client
        // would fail. One that asks is served.
        if tls.exporter.is_some() && tls.version == TlsVersion::Tls13 {
            w.start("channel-binding").attr("type", "tls-exporter").end();
        }
        if !tls.server_end_point.is_empty() {
            w.start("channel-binding").attr("type", "tls-server-end-point").end();
        }
        w.end();
    }
}
