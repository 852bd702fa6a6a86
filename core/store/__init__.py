"""runs.db: schema, migrations and the few queries the program needs. One module a table."""

from core.store._sqlite_utils import Database
from core.store.database import open_store, transaction

__all__ = ["Database", "open_store", "transaction"]
