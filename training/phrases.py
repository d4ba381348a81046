"""A small grammar of everyday and assistant-like sentences, numbers and dates written as words."""

from __future__ import annotations

import random
import re

from bench.numbers import number_words

GRAMMAR: dict[str, str] = {
    "sentence": "{The} {is} {adj}.|{The} {verbed} the {noun}.|{The} {verbed} {prep} the {adj} "
    "{noun}.|{Who} {verbed} the {adj} {noun} {prep} the {noun}.|{assistant}|{short}|{question}|"
    "{fact}|{order}|{The} {is} {adj} and the {noun} {is} {adj}.|{plan}|{Who} {verbed} {num} "
    "{plural} {prep} the {noun}.|{said}.|{said}.|{said}.|{said}?",
    "The": "The {noun}|The {adj} {noun}|The {noun} of the {noun}|A {adj} {noun}|This {noun}|"
    "That {noun}|My {noun}|Her {noun}|The {noun}'s {noun}|Each {noun}|The {noun} and {noun}",
    "Who": "I|We|They|She|He|The {noun}|You|The two {plural}|{name}",
    "name": "{given}|{given}|{given} {family}|Mister {family}|Missus {family}|Doctor {family}|"
    "Professor {family}",
    "given": "James|Mary|Robert|Patricia|John|Jennifer|Michael|Linda|David|Elizabeth|William|"
    "Barbara|Richard|Susan|Joseph|Jessica|Thomas|Karen|Charles|Sarah|Christopher|Lisa|Daniel|"
    "Nancy|Matthew|Sandra|Anthony|Betty|Mark|Ashley|Donald|Emily|Steven|Kimberly|Andrew|Margaret|"
    "Paul|Donna|Joshua|Michelle|Kenneth|Carol|Kevin|Amanda|Brian|Melissa|George|Deborah|Timothy|"
    "Stephanie|Edward|Rebecca|Jeffrey|Laura|Ryan|Helen|Jacob|Sharon|Nicholas|Cynthia|Gary|"
    "Kathleen|Eric|Amy|Jonathan|Angela|Stephen|Anna|Larry|Ruth|Justin|Brenda|Scott|Pamela|Brandon|"
    "Nicole|Benjamin|Katherine|Samuel|Samantha|Gregory|Christine|Alexander|Catherine|Patrick|"
    "Virginia|Frank|Rachel|Raymond|Janet|Jack|Emma|Dennis|Maria|Jerry|Diane|Tyler|Julie|Aaron|"
    "Joyce|Henry|Victoria|Douglas|Kelly|Peter|Christina|Jose|Lauren|Adam|Joan|Zachary|Evelyn|"
    "Walter|Olivia|Nathan|Judith|Harold|Martha|Kyle|Cheryl|Carl|Megan|Arthur|Andrea|Roger|Alice|"
    "Lucy|Sophia|Oliver|Charlotte|Liam|Noah|Grace|Chloe|Oscar|Max|Leo|Ella|Mia|Hannah|Simon|Martin",
    "family": "Smith|Johnson|Williams|Brown|Jones|Garcia|Miller|Davis|Rodriguez|Martinez|Wilson|"
    "Anderson|Taylor|Moore|Jackson|Thompson|White|Harris|Clark|Lewis|Robinson|Walker|Young|Allen|"
    "King|Wright|Scott|Hill|Green|Adams|Baker|Nelson|Carter|Mitchell|Roberts|Turner|Phillips|"
    "Campbell|Parker|Evans|Edwards|Collins|Stewart|Morris|Murphy|Cook|Rogers|Morgan|Cooper|"
    "Peterson|Bailey|Reed|Kelly|Howard|Cox|Ward|Richardson|Watson|Brooks|Wood|James|Bennett|Gray|"
    "Hughes|Price|Myers|Foster|Sanders|Ross|Patel|Chen|Kim|Lee|Wang|Lopez|Gonzalez|O'Neil|Fisher|"
    "Newton|Darwin|Einstein|Lincoln|Washington|Shakespeare|Wagner|Schmidt|Ivanov|Rossi|Tanaka",
    "place": "London|Paris|New York|Boston|Chicago|Berlin|Rome|Madrid|Vienna|Moscow|Tokyo|Beijing|"
    "Shanghai|Delhi|Sydney|Toronto|Seattle|Denver|Dallas|Houston|Miami|Atlanta|Phoenix|Portland|"
    "San Francisco|Los Angeles|San Diego|Philadelphia|Detroit|Dublin|Edinburgh|Amsterdam|Brussels|"
    "Stockholm|Oslo|Copenhagen|Helsinki|Warsaw|Prague|Budapest|Athens|Istanbul|Cairo|Nairobi|"
    "Singapore|Bangkok|Manila|Seoul|Mexico City|Buenos Aires|Lima|Lisbon|Barcelona|Milan|Venice|"
    "Munich|Zurich|Geneva|Texas|California|Florida|Ohio|Virginia|Georgia|Alaska|Hawaii|Canada|"
    "Mexico|Brazil|England|Scotland|Ireland|France|Germany|Italy|Spain|Greece|Turkey|Russia|China|"
    "Japan|India|Australia|Africa|Europe|America|Asia|Switzerland|Sweden|Norway|Poland|Egypt",
    "letters": "USB|AI|CPU|TV|PC|OK|UK|USA|FBI|NASA|PDF|URL|GPS|DVD|CEO|API|HTML|PM|AM|ID|IT|GPU|"
    "SMS|VIP|ATM|BBC|CNN|MIT|IBM|NBA|FAQ|WiFi|email|online|website|app|internet|laptop|software",
    "said": "{place} is {adj} in {month}|{name} went from {place} to {place}|{name} lives in "
    "{place}|I met {name} in {place}|{name} and {name} {verbed} the {noun} in {place}|The "
    "{letters} {noun} is {adj}|Open the {letters} {noun}|I sent you the {letters} by email|It was "
    "built in {year}|{name} was born in {year}|Call {digit} {digit} {digit}, {digit} {digit} "
    "{digit} {digit}|The number is {digit} {digit} {digit}|On {month} {ordinal}, {year}, {name} "
    "{verbed} the {noun}|The {ordinal} of {month} is a {day}|It is {num} percent {adj}|About "
    "{num} point {digit} {plural}|{name} said {the_noun} {is} {adj}|However, {the_noun} {is} "
    "{adj}|For example, {name} {verbed} {the_noun}|After that, {name} {verbed} it|Flight {num} to "
    "{place} leaves at {time}",
    "the_noun": "the {noun}|the {adj} {noun}|my {noun}|his {noun}|our {noun}|their {plural}",
    "digit": "zero|one|two|three|four|five|six|seven|eight|nine",
    "year": "nineteen {tens}|two thousand {digit}|twenty {tens}|eighteen {tens}|seventeen {tens}",
    "tens": "ten|eleven|twelve|fifteen|nineteen|twenty|twenty three|thirty|thirty-four|forty five|"
    "fifty|fifty-six|sixty|sixty seven|seventy|seventy-six|eighty eight|eighty-seven|ninety-nine",
    "is": "is|was|looks|seems|became|is not|will be|was never|is always|is often",
    "verbed": "saw|took|broke|held|found|sold|bought|carried|painted|washed|moved|pushed|pulled|"
    "dropped|cut|threw|caught|kicked|fixed|opened|closed|lost|built|kept|brought|made|used|liked|"
    "left|covered|filled|served|cooked|burned|crossed|followed|passed|reached|helped|watched|"
    "heard|placed|fell on|stood by|came across|jumped over|walked around|climbed|faced",
    "verb": "see|take|break|hold|find|sell|buy|carry|paint|wash|move|push|pull|drop|cut|throw|"
    "catch|kick|fix|open|close|lose|build|keep|bring|make|use|leave|cover|fill|serve|cook|burn|"
    "cross|follow|pass|reach|help|watch|hear|place|tell|sleep in|wait for|look at|ask for|pay for",
    "prep": "on|in|under|beside|behind|near|across|above|below|through|against|along|past|into|"
    "from|with|without|around|between|toward|beneath|inside|outside of",
    "adj": "smooth|dark|blue|good|round|fine|large|hard|plain|huge|clear|soft|easy|steady|cold|"
    "warm|wet|dry|green|red|yellow|brown|black|white|small|tall|short|thin|thick|heavy|light|loud|"
    "quiet|sharp|dull|bright|clean|dirty|empty|full|fresh|stale|sweet|sour|bitter|strong|weak|"
    "rough|flat|deep|shallow|wide|narrow|fast|slow|young|old|new|cheap|dear|broken|frozen|"
    "lazy|busy|happy|sad|angry|calm|brave|proud|kind|cruel|wise|foolish|rich|poor|early|late",
    "noun": "boat|box|boy|girl|man|woman|sun|fish|river|ball|foot|tea|evening|fire|hour|work|house|"
    "window|table|chair|floor|wall|roof|garden|tree|leaf|branch|root|flower|grass|stone|rock|hill|"
    "mountain|valley|field|farm|barn|horse|cow|sheep|pig|dog|cat|mouse|bird|duck|goose|egg|milk|"
    "butter|cheese|bread|cake|sugar|salt|pepper|soup|meat|beef|apple|pear|peach|plum|grape|cherry|"
    "orange|banana|potato|carrot|onion|bean|knife|fork|spoon|plate|cup|glass|bottle|jar|can|basket|"
    "bag|sack|rope|string|chain|wire|nail|hammer|saw|axe|shovel|wheel|cart|wagon|car|bus|train|"
    "plane|ship|bridge|road|street|path|corner|market|shop|store|bank|school|church|office|"
    "hospital|station|letter|book|page|paper|pen|pencil|ink|paint|brush|picture|frame|mirror|clock|"
    "watch|lamp|candle|match|coal|wood|iron|steel|gold|silver|copper|brass|cloth|wool|cotton|silk|"
    "leather|shirt|coat|hat|cap|shoe|boot|sock|glove|belt|button|pocket|needle|thread|bed|pillow|"
    "blanket|towel|soap|water|ice|snow|rain|wind|storm|cloud|sky|moon|star|day|night|morning|week|"
    "month|year|winter|summer|spring|autumn|child|baby|brother|sister|mother|father|uncle|aunt|"
    "friend|neighbor|teacher|doctor|nurse|farmer|sailor|soldier|judge|king|queen|prince|thief|"
    "guard|crowd|team|game|song|story|word|name|voice|sound|noise|smell|taste|color|shape|edge|"
    "point|line|circle|square|heart|hand|arm|finger|thumb|shoulder|knee|neck|head|hair|face|eye|"
    "ear|nose|mouth|tooth|tongue|skin|bone|blood|beach|coast|harbor|"
    "island|lake|pond|stream|desert|forest|jungle|kettle|oven|stove|fence|gate|yard|tower|castle",
    "plural": "boats|cups|hours|days|roads|fires|houses|windows|"
    "apples|letters|books|horses|children|men|women|boxes|dishes|bridges|pages|pieces|friends|"
    "dollars|tickets|chairs|tables|stones|birds|stars|songs|stories|lamps|shoes|gloves|knives",
    "assistant": "Hello, how can I help you today?|Sure, let me check that for you.|Your {noun} "
    "will arrive on {day}.|The weather {prep} the {noun} is {adj} today.|I have set a timer for "
    "{num} minutes.|Your next meeting is at {time}.|Here is what I found about the {noun}.|Sorry, "
    "I did not catch that.|Turning off the {noun} now.|You have {num} new messages.|It is {num} "
    "degrees outside.|Today is {day}, {month} {ordinal}.|The answer is {num}.|Please say that "
    "again.|I can help you with your {noun}.|Would you like to hear the {noun} {noun}?|Good "
    "morning, {name}.|Your order of {num} {plural} is ready.|Thank you for calling.|One moment, "
    "please.|The {noun} costs {num} dollars and {num} cents.|Remember to {verb} the {noun} on "
    "{day}.|Text comes in while it is still being written.|Speech comes out while the rest is "
    "still being computed.|Welcome to the {adj} {noun} demo.|This is a streaming voice.",
    "short": "Yes.|No.|Maybe.|Of course.|Thank you.|Not yet.|Hello!|Hello there.|Good evening.|"
    "Good night.|Okay.|All right.|Well, {adj}.|See you on {day}.|In a minute.|{Num}.|Hello, "
    "world.|Very {adj}.|No, thanks.|I see.|Go on.|Stop.|Wait!|Sure.|Why not?|A {noun}.|The {noun}.",
    "question": "Where is the {noun}?|Who {verbed} my {noun}?|Can you {verb} the {noun}?|Is the "
    "{noun} {adj}?|How many {plural} do you need?|When will the {noun} be {adj}?|Why is the "
    "{noun} so {adj}?|What time is it?|Did {name} {verb} the {adj} {noun}?|Do you want the {noun} "
    "or the {noun}?|How far is it to the {noun}?|Are there {num} {plural} in the {noun}?",
    "fact": "There are {num} {plural} {prep} the {noun}.|It takes {num} hours to {verb} the "
    "{noun}.|In {month} the {noun} is {adj}.|{Num} {plural} cost {num} dollars.|On {day} we "
    "{verb} the {noun}.|These {plural} are {adj}.|It is hard to "
    "{verb} the {noun}.|There was no {noun} {prep} the "
    "{noun}.",
    "order": "Please {verb} the {noun}.|{verb} the {noun} and {verb} the {noun}.|{verb} the {adj} "
    "{noun} {prep} the {noun}.|Don't {verb} the {noun}.|{verb} your {noun} to the {noun}.|Let us "
    "{verb} the {noun}.|Help the {noun} {verb} the {noun}.|Take {num} {plural} and {verb} them.",
    "plan": "I will {verb} the {noun} tomorrow.|We can't {verb} it.|She wants to {verb} a {adj} "
    "{noun}.|They're going to {verb} the {plural}.|He said that the {noun} {is} {adj}.|If the "
    "{noun} is {adj}, {verb} it.|When we {verbed} the {noun}, it was {adj}.|I've never {verbed} a "
    "{noun}, but {name} has.|You should {verb} it before {time}.|We'll meet {prep} the {noun} at "
    "{time} on {day}.",
    "day": "Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday",
    "month": "January|February|March|April|May|June|July|August|September|October|November|"
    "December",
    "ordinal": "first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|eleventh|twelfth|"
    "thirteenth|twentieth|twenty-first|thirtieth",
    "time": "noon|midnight|{num} o'clock|half past {num}|a quarter to {num}|{num} thirty",
}
"""Rule -> alternatives separated by ``|``; ``{rule}`` inserts an expansion."""

_CHOICES = {rule: body.split("|") for rule, body in GRAMMAR.items()}


def _expand(rng: random.Random, rule: str) -> str:
    if rule.lower() == "num":
        return number_words(
            rng.choice((rng.randrange(13), rng.randrange(100), rng.randrange(9999)))
        )
    chosen = rng.choice(_CHOICES[rule])
    return re.sub(r"\{(\w+)\}", lambda slot: _expand(rng, slot.group(1)), chosen)


def everyday(rng: random.Random, count: int) -> list[str]:
    """``count`` sentences of the grammar (duplicates possible)."""
    made = (_expand(rng, "sentence") for _ in range(count))
    return [text[0].upper() + text[1:] for text in made]
