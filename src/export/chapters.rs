use super::{Connector, call};
use memberspot_core::{
    request::chapters,
    wit::{
        chapters::{ChapterAccessRequest, Guest},
        types::Error,
    },
};

impl Guest for Connector {
    fn enable_chapter_access(request: ChapterAccessRequest) -> Result<(), Error> {
        call(|_| chapters::enable_chapter_access(&request))
    }
}
