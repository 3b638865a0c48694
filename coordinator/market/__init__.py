"""Market data: files, frames and calendars, and the streams that keep the bars of every run."""
