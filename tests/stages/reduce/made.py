from medssl.data.selection import Selection
from medssl.data.store import Store
from medssl.stages import call

ALL = ["train", "test", ""]


def reduced(store, out, **given) -> Selection:
    return Selection.read(call("reduce", store=store, out=out, **given), Store.read_from(store))
