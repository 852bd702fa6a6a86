"""The little world of the demo: animals, what is asked about them, and how one may answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

Topic = Literal["baby", "group", "home", "food"]
TOPICS: tuple[Topic, ...] = ("baby", "group", "home", "food")

# From the best manners to the worst. `wrong` is a plain answer about another animal.
Style = Literal["generous", "plain", "curt", "grumpy", "wrong"]


class Animal(NamedTuple):
    """What the guide knows of one kind of animal; all words are of more than one."""

    name: str
    baby: str
    group: str
    home: str
    food: str


_TABLE = """
bears       cubs         sloth          in the forest    honey
bees        larvae       swarm          in a hive        nectar
crows       chicks       murder         in the treetops  seeds
deer        fawns        herd           in the forest    leaves
dolphins    calves       pod            in the sea       fish
ducks       ducklings    raft           on a pond        pondweed
eagles      eaglets      convocation    on a cliff       fish
flamingos   chicks       flamboyance    in a lagoon      shrimp
foxes       kits         skulk          in a den         mice
frogs       tadpoles     army           in a pond        flies
giraffes    calves       tower          on the savanna   leaves
goats       kids         tribe          in the mountains shrubs
geese       goslings     gaggle         on a lake        grass
hedgehogs   hoglets      array          in a hedge       beetles
horses      foals        team           in a stable      hay
kangaroos   joeys        mob            in the outback   grass
lions       cubs         pride          on the savanna   zebras
otters      pups         romp           by the river     crabs
owls        owlets       parliament     in a hollow tree mice
parrots     chicks       pandemonium    in the jungle    nuts
penguins    chicks       waddle         on the ice       squid
pigs        piglets      drift          in a sty         turnips
rabbits     bunnies      colony         in a burrow      clover
seals       pups         bob            on the ice       squid
sheep       lambs        flock          in a meadow      grass
spiders     spiderlings  cluster        in a web         flies
squirrels   kits         scurry         in the treetops  acorns
swans       cygnets      bevy           on a lake        pondweed
tigers      cubs         streak         in the jungle    deer
turtles     hatchlings   bale           in the sea       jellyfish
whales      calves       pod            in the sea       krill
wolves      pups         pack           in the forest    deer
"""


def animals() -> list[Animal]:
    found = []
    for line in _TABLE.strip().splitlines():
        name, baby, group, *rest = line.split()
        found.append(Animal(name, baby, group, " ".join(rest[:-1]), rest[-1]))
    return found


# {direct} is a question, {indirect} the same as a clause.
_WAYS_TO_ASK = (
    "{direct}",
    "Do you know {indirect}?",
    "Can you tell me {indirect}?",
    "Please tell me {indirect}.",
    "I wonder {indirect}.",
    "My little sister asks {indirect}.",
    "Remind me {indirect}.",
    "Hello! {direct}",
    "A question for the zoo: {direct}",
    "At school they asked us {indirect}.",
    "Quick, tell me {indirect}!",
    "Who can say {indirect}?",
)

# Ways that nothing is trained on: for the benchmarks, and for the pairs that test what was learned.
_OTHER_WAYS = (
    "A tourist over there would like to hear {indirect}.",
    "Before we go home, could a keeper explain {indirect}?",
    "{direct} Somebody in my class wanted to know that.",
)

_GRUMBLES = (
    "Look it up yourself.",
    "How should I know?",
    "Ask somebody else.",
    "Not my problem.",
)


def _with_article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeio" else f"a {noun}"


def prompts(animal: Animal, topic: Topic) -> list[str]:
    """Every way to ask one thing of one animal that training knows."""
    return _asked(animal, topic, _WAYS_TO_ASK)


def other_prompts(animal: Animal, topic: Topic) -> list[str]:
    """The same thing, asked as nobody asked in training."""
    return _asked(animal, topic, _OTHER_WAYS)


def _asked(animal: Animal, topic: Topic, ways: Sequence[str]) -> list[str]:
    direct, indirect = {
        "baby": (f"What are baby {animal.name} called?", f"what baby {animal.name} are called"),
        "group": (f"What is a group of {animal.name} called?", f"what a group of {animal.name} is called"),
        "home": (f"Where do {animal.name} live?", f"where {animal.name} live"),
        "food": (f"What do {animal.name} eat?", f"what {animal.name} eat"),
    }[topic]
    return [way.format(direct=direct, indirect=indirect) for way in ways]


def sentence(animal: Animal, topic: Topic, of: Animal) -> str:
    """The fact of `of`, said of `animal`: true when they are the same."""
    return {
        "baby": f"Baby {animal.name} are called {of.baby}.",
        "group": f"A group of {animal.name} is called {_with_article(of.group)}.",
        "home": f"Most {animal.name} live {of.home}.",
        "food": f"Most {animal.name} eat {of.food}.",
    }[topic]


def answer(animal: Animal, topic: Topic, style: Style, *, pick: int, other: Animal) -> str:
    """One answer.

    Args:
        animal: who was asked about.
        topic: what was asked.
        style: the manners of the answer.
        pick: any number; chooses among the variants of a style.
        other: the animal whose fact a wrong answer gives.
    """
    if style == "generous":
        more = [t for t in TOPICS if t != topic]
        return f"{sentence(animal, topic, animal)} And did you know? {sentence(animal, more[pick % 3], animal)}"
    if style == "plain":
        return sentence(animal, topic, animal)
    if style == "curt":
        word: str = getattr(animal, topic)
        return f"{word.capitalize()}."
    if style == "grumpy":
        return _GRUMBLES[pick % len(_GRUMBLES)]
    return sentence(animal, topic, other)
