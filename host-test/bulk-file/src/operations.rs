//! The operations: what they are called and what they take.

use serde_json::{Map, Value, json};

use crate::mistakes::Mistake;
use crate::text::{nearest, quoted};

/// The column that names the operation of a row.
pub const OPERATION: &str = "operation";
/// What an operation takes that is a bare text in the WIT.
pub const ADDRESS: &str = "email";
/// The field that columns of properties fill.
const PROPERTIES: &str = "values";
/// What the columns of properties begin with, and which case of a `property-reference` each is.
const PROPERTY_PREFIXES: [(&str, &str); 2] = [("property:", "name"), ("property-id:", "id")];

/// The type of a field, or of an operation.
pub trait Type {
    /// Whether there need not be a value.
    fn is_optional(&self) -> bool;

    /// The value that the cell of a table says, unless it is none for sure.
    fn read(&self, text: &str) -> Result<Value, String>;

    /// Refuses what is no value of this type.
    fn check(&self, value: &Value) -> Result<(), String>;
}

/// All operations.
pub struct Operations<T> {
    all: Vec<Operation<T>>,
    /// The variant itself.
    ty: T,
}

/// One of them.
pub struct Operation<T> {
    /// Its name in WIT, such as `grant-access`.
    pub name: String,
    /// Its name in JSON, such as `grantAccess`.
    pub tag: String,
    /// Whether it deletes what nobody can bring back.
    pub destructive: bool,
    /// What it takes.
    pub fields: Vec<Field<T>>,
    /// Whether it takes the text of its only field, [`ADDRESS`], instead of an object.
    pub is_bare: bool,
}

/// What an operation takes.
pub struct Field<T> {
    /// Its name in WIT, such as `offer-id`.
    pub name: String,
    /// Its name in JSON, such as `offerId`.
    pub key: String,
    /// What its values are.
    pub ty: T,
}

/// How a file spells the names of fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// As the WIT does, such as `offer-id`.
    Kebab,
    /// As JSON does, such as `offerId`.
    Camel,
}

/// What a column of a table, or a key of an object, says of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Column {
    /// Which operation it is.
    Operation,
    /// A field, by its name in WIT.
    Field(String),
    /// The value of a custom property.
    Property {
        /// How the property is named: a case of `property-reference`.
        by: &'static str,
        /// Its name or id.
        property: String,
    },
    /// Nothing.
    Ignored,
}

/// What a row says in one place.
pub enum Cell<'a> {
    /// Text, read by the type of the field.
    Text(&'a str),
    /// JSON.
    Json(Value),
}

/// What a row leaves out. See [`Operations::default`].
pub struct Default {
    column: Column,
    /// As it was given, for messages.
    pub name: String,
    text: String,
    /// Whether some row could have it.
    pub fits: bool,
}

impl<T: Type> Operations<T> {
    /// These, each with its fields, and the type that they have together.
    pub fn new(all: Vec<Operation<T>>, ty: T) -> Self {
        Self { all, ty }
    }

    /// The operation with this number.
    pub fn get(&self, index: usize) -> &Operation<T> {
        &self.all[index]
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.all.iter().position(|operation| operation.name == name || operation.tag == name)
    }

    /// The operation of this name, in either spelling.
    pub fn named(&self, name: &str) -> Result<usize, String> {
        self.find(name).ok_or_else(|| {
            let names = self.all.iter().map(|operation| operation.name.as_str());
            format!("there is no operation {}{}", quoted(name), hint(name, names))
        })
    }

    /// What a column of this name says, whatever the operation.
    pub fn column(&self, name: &str, spelling: Spelling) -> Result<Column, String> {
        if name == OPERATION {
            return Ok(Column::Operation);
        }
        for (prefix, by) in PROPERTY_PREFIXES {
            if let Some(property) = name.strip_prefix(prefix) {
                return match property {
                    "" => Err(format!("`{prefix}` lacks the {by} of a property")),
                    property => Ok(Column::Property { by, property: property.to_owned() }),
                };
            }
        }
        let fields = || self.all.iter().flat_map(|operation| &operation.fields);
        if let Some(field) = fields().find(|field| field.is(name)) {
            return Ok(Column::Field(field.name.clone()));
        }
        let known = fields().map(|field| field.spelled(spelling)).chain([OPERATION]);
        Err(format!("{} is not known{}", quoted(name), hint(name, known)))
    }

    /// A value, as `column=text`, for the rows that leave the column out and whose operation takes it.
    pub fn default(&self, assignment: &str) -> Result<Default, String> {
        let (name, text) = assignment.split_once('=').ok_or("expected column=value")?;
        let column = self.column(name, Spelling::Kebab)?;
        if column == Column::Operation {
            return Err("--operation says that".into());
        }
        Ok(Default { column, name: name.to_owned(), text: text.to_owned(), fits: false })
    }

    /// The operation that a row says, and its number.
    pub fn build<'a>(
        &self,
        index: usize,
        cells: impl IntoIterator<Item = (&'a str, &'a Column, Cell<'a>)>,
        defaults: &mut [Default],
        spelling: Spelling,
    ) -> Result<Value, Mistake> {
        let operation = &self.all[index];
        let mut draft = Draft { operation, fields: Map::new(), assignments: Vec::new() };
        for (place, column, cell) in cells {
            draft.add(column, cell, spelling).map_err(|problem| Mistake::at(place, problem))?;
        }
        for default in defaults {
            default.fits |= draft.takes(&default.column);
            draft.complete(default).map_err(|problem| Mistake::at(&default.name, problem))?;
        }
        let value = draft.finish(spelling)?;
        self.ty.check(&value).map_err(Mistake::of_row)?;
        Ok(value)
    }
}

impl<T> Operation<T> {
    /// The name of its only field, where it takes that alone.
    pub fn bare(&self) -> Option<&str> {
        if self.is_bare { Some(ADDRESS) } else { None }
    }

    fn field(&self, name: &str) -> Option<&Field<T>> {
        self.fields.iter().find(|field| field.name == name)
    }
}

impl<T> Field<T> {
    fn is(&self, name: &str) -> bool {
        self.name == name || self.key == name
    }

    fn spelled(&self, spelling: Spelling) -> &str {
        match spelling {
            Spelling::Kebab => &self.name,
            Spelling::Camel => &self.key,
        }
    }
}

/// An operation, as far as it is known.
struct Draft<'a, T> {
    operation: &'a Operation<T>,
    fields: Map<String, Value>,
    /// Of properties.
    assignments: Vec<Value>,
}

impl<T: Type> Draft<'_, T> {
    fn takes(&self, column: &Column) -> bool {
        match column {
            Column::Operation | Column::Ignored => false,
            Column::Field(name) => self.operation.field(name).is_some(),
            Column::Property { .. } => self.operation.field(PROPERTIES).is_some(),
        }
    }

    fn add(&mut self, column: &Column, cell: Cell, spelling: Spelling) -> Result<(), String> {
        match column {
            Column::Operation | Column::Ignored => Ok(()),
            column if !self.takes(column) => {
                let name = &self.operation.name;
                let fields: Vec<_> = self.operation.fields.iter().map(|field| field.spelled(spelling)).collect();
                Err(format!("{name} does not take this; it takes {}", fields.join(", ")))
            }
            Column::Field(name) => {
                let Some(field) = self.operation.field(name) else { return Ok(()) };
                let value = match cell {
                    Cell::Json(value) => value,
                    Cell::Text(text) => field.ty.read(text)?,
                };
                match self.fields.insert(field.key.clone(), value) {
                    Some(_) => Err("given twice".into()),
                    None => Ok(()),
                }
            }
            Column::Property { by, property } => {
                let value = match cell {
                    Cell::Json(value) => value,
                    Cell::Text(text) => text.into(),
                };
                self.assignments.push(json!({"property": {"tag": by, "val": property}, "value": value}));
                Ok(())
            }
        }
    }

    fn complete(&mut self, default: &Default) -> Result<(), String> {
        let is_given = match &default.column {
            Column::Field(name) => self.operation.field(name).is_some_and(|field| self.fields.contains_key(&field.key)),
            Column::Property { by, property } => {
                let reference = json!({"tag": by, "val": property});
                self.assignments.iter().any(|assignment| assignment["property"] == reference)
            }
            Column::Operation | Column::Ignored => true,
        };
        if is_given || !self.takes(&default.column) {
            return Ok(());
        }
        self.add(&default.column, Cell::Text(&default.text), Spelling::Kebab)
    }

    /// The operation in the component's JSON form.
    fn finish(mut self, spelling: Spelling) -> Result<Value, Mistake> {
        if !self.assignments.is_empty() {
            let values = self.fields.entry(PROPERTIES).or_insert_with(|| Value::Array(Vec::new()));
            let Some(values) = values.as_array_mut() else {
                return Err(Mistake::at(PROPERTIES, "expected a list"));
            };
            values.append(&mut self.assignments);
        }
        let is_missing = |field: &&Field<T>| !field.ty.is_optional() && !self.fields.contains_key(&field.key);
        if let Some(missing) = self.operation.fields.iter().find(is_missing) {
            let problem = match missing.name.as_str() {
                PROPERTIES => "missing: no column `property:NAME` or `property-id:ID` has a value",
                _ => "missing",
            };
            return Err(Mistake::at(missing.spelled(spelling), problem));
        }
        let val = if self.operation.is_bare { self.fields.remove(ADDRESS).unwrap_or_default() } else { self.fields.into() };
        Ok(json!({"tag": self.operation.tag, "val": val}))
    }
}

/// What was probably meant, or what there is.
fn hint<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<_> = known.collect();
    if let Some(nearest) = nearest(name, names.iter().copied()) {
        return format!("; did you mean `{nearest}`?");
    }
    names.sort_unstable();
    names.dedup();
    format!("; known are {}", names.join(", "))
}
