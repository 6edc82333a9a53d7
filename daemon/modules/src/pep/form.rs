//! Data forms (XEP-0004) as pubsub uses them: submitted fields read, a form written.
use super::refusal::bad;
use godwit_wire::{Node, StanzaError, ns};

/// A submitted field: its name and its values.
pub type Field<'a> = (&'a str, Vec<String>);

/// Most fields of one form, and most values of one field.
const FIELDS_MAX: usize = 64;
const VALUES_MAX: usize = 32;

/// The form inside an element: its fields without `FORM_TYPE`, which has to be `form_type`. `None`: there is
/// no form, or it was cancelled.
pub fn submitted<'a>(parent: Node<'a>, form_type: &str) -> Result<Option<Vec<Field<'a>>>, StanzaError> {
    let Some(form) = parent.child("x", ns::DATA_FORMS) else { return Ok(None) };
    match form.attr("type") {
        Some("submit") => {}
        Some("cancel") => return Ok(None),
        _ => return Err(bad("the form is not of type submit")),
    }
    let mut fields: Vec<Field<'_>> = Vec::new();
    for field in form.children().filter(|child| child.is("field", ns::DATA_FORMS)) {
        let Some(var) = field.attr("var") else { return Err(bad("a field has no name")) };
        let values: Vec<String> = field
            .children()
            .filter(|child| child.is("value", ns::DATA_FORMS))
            .map(|value| value.text().into_owned())
            .collect();
        if fields.len() >= FIELDS_MAX || values.len() > VALUES_MAX {
            return Err(bad("the form has too many fields or values"));
        }
        if fields.iter().any(|(name, _)| *name == var) {
            return Err(bad("a field is there twice"));
        }
        fields.push((var, values));
    }
    let kind = fields.iter().position(|(var, _)| *var == "FORM_TYPE").map(|at| fields.remove(at).1);
    // Some clients leave the type out; another one's fields would mean something else.
    match kind.as_deref() {
        None => Ok(Some(fields)),
        Some([value]) if value == form_type => Ok(Some(fields)),
        _ => Err(bad("the form has another FORM_TYPE than is wanted here")),
    }
}
