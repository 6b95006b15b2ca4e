//! stub
/// stub
/// # Errors
/// none
pub fn write() -> crate::Result {
    Ok(())
}
