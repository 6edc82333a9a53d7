//! The list of modules. Its order is the order in which they see a stanza; a reason stands behind each line.
use crate::module::Module;
use std::collections::HashMap;

/// All modules, and which of them takes which iq.
pub struct Modules {
    list: Vec<Box<dyn Module>>,
    iq: HashMap<&'static str, usize>,
}

impl Modules {
    /// Every module there is.
    pub fn all() -> Modules {
        Modules::of(vec![
            Box::new(crate::rfc6121_subscription::Subscription), // its types are not presence's
            Box::new(crate::rfc6121_presence::Presence),         // takes every other presence
            Box::new(crate::rfc6121_roster::Roster),             // from here on iqs only: any order
            Box::new(crate::xep0012_last::Last::default()),
            Box::new(crate::xep0030_disco::Disco),
            Box::new(crate::xep0059_rsm::Rsm),
            Box::new(crate::xep0060_pubsub::Pubsub),
            Box::new(crate::xep0077_register::Register),
            Box::new(crate::xep0092_version::Version),
            Box::new(crate::xep0115_caps::EntityCaps),
            Box::new(crate::xep0163_pep::Pep),
            Box::new(crate::xep0199_ping::Ping),
            Box::new(crate::xep0202_time::Time),
            Box::new(crate::xep0280_carbons::Carbons),
            Box::new(crate::xep0313_mam::Mam),
            Box::new(crate::xep0359_stanza_ids::StanzaIds),
            Box::new(crate::xep0490_mds::Mds), // sees messages, lets them pass
            Box::new(crate::xep0441_prefs::Preferences),
            Box::new(crate::xep0160_offline::Offline),
            // Has an opinion on every message: after those with a narrower one.
            Box::new(crate::what_is_stored::Hints),
        ])
    }

    /// Just these (tests).
    pub fn of(list: Vec<Box<dyn Module>>) -> Modules {
        let mut iq = HashMap::new();
        for (at, module) in list.iter().enumerate() {
            for namespace in module.info().iq {
                let before = iq.insert(*namespace, at);
                assert!(before.is_none(), "two modules want iqs in {namespace}");
            }
        }
        Modules { list, iq }
    }

    /// In order.
    pub fn each(&self) -> impl Iterator<Item = &dyn Module> {
        self.list.iter().map(AsRef::as_ref)
    }

    /// The one that takes iqs in a namespace.
    pub fn for_iq(&self, namespace: &str) -> Option<&dyn Module> {
        self.iq.get(namespace).and_then(|&at| self.list.get(at)).map(AsRef::as_ref)
    }

    /// Raw XML of all stream features after authentication.
    pub fn stream_features(&self) -> String {
        self.each().map(|module| module.info().stream_features).collect()
    }
}
