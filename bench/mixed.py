"""The judge's own sentences: what people ask a voice to say, and how it is read aloud."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A text to speak and the words that a listener should hear."""

    text: str
    spoken: str


def _judged(text: str, spoken: str = "") -> Judged:
    return Judged(text=text, spoken=spoken or text)


MIXED: tuple[Judged, ...] = (
    _judged("Have you fed the chickens this morning?"),
    _judged("My neighbor plays the violin every night, and none of us can sleep."),
    _judged("If you turn left at the bakery, you will see the museum."),
    _judged("How long does the soup have to boil?"),
    _judged("Nobody told me that the office was closed today."),
    _judged("The doctor asked him to drink less coffee and to walk more often."),
    _judged("Which of these two jackets would you buy?"),
    _judged("Susan forgot her umbrella on the bus again."),
    _judged("The children built a castle of sand, but the waves carried it away."),
    _judged("Could you please speak a little slower?"),
    _judged("We missed the last train, so we stayed in a small hotel near the harbor."),
    _judged("I would rather wait here than stand in the rain."),
    _judged("Michael, Laura and their parents are coming for dinner on Saturday."),
    _judged("It was raining, the streets were empty, and somewhere a dog was barking."),
    _judged("What a wonderful surprise!"),
    _judged("Do not forget to water the plants while I am away."),
    _judged("The price of bread went up twice last year."),
    _judged("She opened the box, looked inside, and began to laugh."),
    _judged("Why did nobody answer the telephone?"),
    _judged("Our teacher always says that practice is better than talent."),
    _judged("The museum opens at 9 o'clock.", "The museum opens at nine o'clock."),
    _judged("There were 45 people in the room.", "There were forty-five people in the room."),
    _judged(
        "He ran the whole distance in 12 minutes.", "He ran the whole distance in twelve minutes."
    ),
    _judged("The ticket costs $30.", "The ticket costs thirty dollars."),
    _judged(
        "About 80% of the students passed the test.",
        "About eighty percent of the students passed the test.",
    ),
    _judged(
        "Dr. Miller can see you at 3:30 in the afternoon.",
        "Doctor Miller can see you at three thirty in the afternoon.",
    ),
    _judged("My sister was born on May 4th.", "My sister was born on May fourth."),
    _judged(
        "Mr. Green sold his farm for 200 gold coins.",
        "Mister Green sold his farm for two hundred gold coins.",
    ),
    _judged(
        "Turn to page 117 and read the first line.",
        "Turn to page one hundred seventeen and read the first line.",
    ),
    _judged("The bridge is 350 feet long.", "The bridge is three hundred fifty feet long."),
    _judged("Let's meet at the fountain after lunch, shall we?"),
    _judged("Thomas painted the kitchen yellow, although his wife wanted it blue."),
    _judged("They don't know yet whether the game will be played tomorrow."),
    _judged("A cold wind blew through the valley, and the old men pulled their hats down."),
    _judged("You've got two new messages, and one of them is from your brother."),
    _judged("The library is quiet in the morning, which is why I like to work there."),
    _judged(
        "When the lights went out, everybody in the theater stopped talking, and for a minute "
        "nothing could be heard but the rain on the roof."
    ),
    _judged(
        "I took the wrong road at the lake, drove through three villages, asked an old woman for "
        "the way, and came home so late that the soup was cold."
    ),
    _judged(
        "Before you leave the house, close all the windows, switch off the heater, give the cat "
        "some water, and put the key under the stone beside the door, so that my uncle can find "
        "it tonight."
    ),
    _judged(
        "The captain looked at the sky for a long time, then he told his men to bring down the "
        "sails, because he had seen clouds like these before, and he knew what they would bring "
        "to the coast."
    ),
)
"""Forty sentences written for the judge alone; training leaves them out."""
