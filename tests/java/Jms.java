// SPDX-License-Identifier: Apache-2.0
import jakarta.jms.BytesMessage;
import jakarta.jms.Connection;
import jakarta.jms.Destination;
import jakarta.jms.JMSException;
import jakarta.jms.MapMessage;
import jakarta.jms.Message;
import jakarta.jms.MessageConsumer;
import jakarta.jms.MessageEOFException;
import jakarta.jms.MessageProducer;
import jakarta.jms.ObjectMessage;
import jakarta.jms.Queue;
import jakarta.jms.Session;
import jakarta.jms.StreamMessage;
import jakarta.jms.TextMessage;
import jakarta.jms.Topic;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.ObjectOutputStream;
import java.io.PrintStream;
import java.io.Serializable;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Enumeration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import org.apache.qpid.jms.JmsConnectionFactory;

/**
 * A JMS client: what a Java application puts into a queue and what one finds there.
 *
 * <pre>
 *   Jms send URI QUEUE SEED COUNT         sends messages of every kind, then COUNT random ones
 *   Jms receive URI QUEUE COUNT SECONDS   receives and acknowledges
 *   Jms order URI QUEUE KEY BODY          sends one message as an application would
 * </pre>
 *
 * Each prints one JSON object a message, as the client's own message object shows it after sending
 * or receiving. Values are [type, value]; floating point is its bits, bytes are hex.
 */
public final class Jms {
    private static final int SMALL = 200;
    private static final int LARGE = 300_000;

    private final Session session;
    private final PrintStream out;

    private Jms(Session session, PrintStream out) {
        this.session = session;
        this.out = out;
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments.length != 5) {
            System.err.println("Jms send URI QUEUE SEED COUNT | receive URI QUEUE COUNT SECONDS"
                + " | order URI QUEUE KEY BODY");
            System.exit(2);
        }
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        try (Connection connection = new JmsConnectionFactory(arguments[1]).createConnection()) {
            connection.start();
            Session session = connection.createSession(false, Session.CLIENT_ACKNOWLEDGE);
            Jms jms = new Jms(session, out);
            Queue queue = session.createQueue(arguments[2]);
            if (arguments[0].equals("send")) {
                jms.send(queue, Long.parseLong(arguments[3]), Integer.parseInt(arguments[4]));
            } else if (arguments[0].equals("order")) {
                jms.order(queue, arguments[3], arguments[4]);
            } else {
                jms.receive(queue, Integer.parseInt(arguments[3]),
                    Integer.parseInt(arguments[4]));
            }
        }
        out.flush();
    }

    private void send(Queue queue, long seed, int count) throws JMSException {
        Random random = new Random(seed);
        MessageProducer producer = session.createProducer(queue);
        List<Message> messages = new ArrayList<>(ofEveryKind());
        for (int number = 0; number < count; number++) {
            messages.add(atRandom(random, number));
        }
        for (int number = 0; number < messages.size(); number++) {
            boolean plain = number % 3 == 0;
            producer.send(messages.get(number),
                number % 5 == 4 ? jakarta.jms.DeliveryMode.NON_PERSISTENT
                                : jakarta.jms.DeliveryMode.PERSISTENT,
                plain ? Message.DEFAULT_PRIORITY : number % 10, plain ? 0 : 3_600_000);
            print(messages.get(number));
        }
    }

    private void order(Queue queue, String key, String body) throws JMSException {
        Message message = session.createTextMessage(body);
        message.setStringProperty("region", "eu");
        message.setIntProperty("amount", 42);
        message.setStringProperty("JMSXGroupID", key);
        message.setJMSCorrelationID("c-17");
        message.setJMSType("created");
        session.createProducer(queue).send(message);
        print(message);
    }

    private void receive(Queue queue, int count, int seconds) throws JMSException {
        long end = System.nanoTime() + seconds * 1_000_000_000L;
        MessageConsumer consumer = session.createConsumer(queue);
        for (int number = 0; number < count; number++) {
            long left = (end - System.nanoTime()) / 1_000_000;
            Message message = left > 0 ? consumer.receive(left) : null;
            if (message == null) {
                out.flush();
                System.err.println(number + " of " + count + " messages within " + seconds + " s");
                System.exit(1);
            }
            print(message);
            message.acknowledge();
        }
    }

    private List<Message> ofEveryKind() throws JMSException {
        List<Message> messages = new ArrayList<>();
        for (String text : new String[] {"", "text", "größe ☃ 𝄞", "line\r\nnext\u0000nul",
            "x".repeat(LARGE)}) {
            messages.add(session.createTextMessage(text));
        }
        messages.add(session.createTextMessage(null));
        for (int size : new int[] {0, 1, 255, 256, 65536}) {
            messages.add(bytes(filled(size)));
        }
        messages.add(withValues(session.createMapMessage()));
        messages.add(session.createMapMessage());
        messages.add(withValues(session.createStreamMessage()));
        messages.add(session.createStreamMessage());
        messages.add(session.createObjectMessage(new ArrayList<>(List.of("a", 1, 2.5))));
        messages.add(session.createObjectMessage(null));
        messages.add(session.createMessage());
        messages.add(typed(new TreeMap<>(Map.of("k", "v", "n", 7L))));
        messages.add(withProperties(session.createTextMessage("all properties")));
        messages.add(withHeaders(session.createTextMessage("all headers")));
        return messages;
    }

    private Message bytes(byte[] data) throws JMSException {
        BytesMessage message = session.createBytesMessage();
        message.writeBytes(data);
        return message;
    }

    /** An object in AMQP's own types instead of Java's serial form. */
    private Message typed(Serializable object) throws JMSException {
        ObjectMessage message = session.createObjectMessage();
        message.setBooleanProperty("JMS_AMQP_TYPED_ENCODING", true);
        message.setObject(object);
        return message;
    }

    private static byte[] filled(int size) {
        byte[] data = new byte[size];
        for (int at = 0; at < size; at++) {
            data[at] = (byte) at;
        }
        return data;
    }

    private static MapMessage withValues(MapMessage message) throws JMSException {
        message.setBoolean("boolean", true);
        message.setByte("byte", Byte.MIN_VALUE);
        message.setShort("short", Short.MIN_VALUE);
        message.setInt("int", Integer.MIN_VALUE);
        message.setLong("long", Long.MIN_VALUE);
        message.setFloat("float", 0.1f);
        message.setDouble("double", Double.MIN_VALUE);
        message.setChar("char", '☃');
        message.setString("string", "größe");
        message.setString("null", null);
        message.setBytes("bytes", filled(256));
        return message;
    }

    private static StreamMessage withValues(StreamMessage message) throws JMSException {
        message.writeBoolean(false);
        message.writeByte(Byte.MAX_VALUE);
        message.writeShort(Short.MAX_VALUE);
        message.writeInt(Integer.MAX_VALUE);
        message.writeLong(Long.MAX_VALUE);
        message.writeFloat(Float.NaN);
        message.writeDouble(Double.NEGATIVE_INFINITY);
        message.writeChar('ü');
        message.writeString("");
        message.writeString(null);
        message.writeBytes(filled(3));
        return message;
    }

    private static Message withProperties(Message message) throws JMSException {
        message.setBooleanProperty("aBoolean", true);
        message.setByteProperty("aByte", (byte) -1);
        message.setShortProperty("aShort", (short) -300);
        message.setIntProperty("anInt", 70_000);
        message.setLongProperty("aLong", 1L << 40);
        message.setFloatProperty("aFloat", 1.5f);
        message.setDoubleProperty("aDouble", -0.0);
        message.setStringProperty("aString", "größe");
        message.setStringProperty("anEmptyString", "");
        message.setObjectProperty("aNull", null);
        message.setStringProperty("JMSXGroupID", "group-1");
        message.setIntProperty("JMSXGroupSeq", 7);
        return message;
    }

    private Message withHeaders(Message message) throws JMSException {
        message.setJMSCorrelationID("correlation");
        message.setJMSReplyTo(session.createQueue("answers"));
        message.setJMSType("order.created");
        return message;
    }

    private Message atRandom(Random random, int number) throws JMSException {
        Message message = switch (random.nextInt(6)) {
            case 0 -> session.createTextMessage(word(random));
            case 1 -> {
                byte[] data = new byte[random.nextInt(SMALL)];
                random.nextBytes(data);
                yield bytes(data);
            }
            case 2 -> {
                MapMessage map = session.createMapMessage();
                for (int left = random.nextInt(5); left > 0; left--) {
                    map.setObject("m" + left, value(random));
                }
                yield map;
            }
            case 3 -> {
                StreamMessage stream = session.createStreamMessage();
                for (int left = random.nextInt(5); left > 0; left--) {
                    stream.writeObject(value(random));
                }
                yield stream;
            }
            case 4 -> session.createObjectMessage(word(random));
            default -> session.createMessage();
        };
        for (int left = random.nextInt(4); left > 0; left--) {
            message.setObjectProperty("p" + left, value(random));
        }
        if (random.nextInt(3) == 0) {
            message.setJMSCorrelationID("c-" + number);
        }
        if (random.nextInt(3) == 0) {
            message.setJMSType(word(random));
        }
        if (random.nextInt(3) == 0) {
            message.setStringProperty("JMSXGroupID", "g-" + random.nextInt(9));
            message.setIntProperty("JMSXGroupSeq", number);
        }
        return message;
    }

    private static Object value(Random random) {
        return switch (random.nextInt(8)) {
            case 0 -> random.nextBoolean();
            case 1 -> (byte) random.nextInt();
            case 2 -> (short) random.nextInt();
            case 3 -> random.nextInt();
            case 4 -> random.nextLong();
            case 5 -> random.nextFloat();
            case 6 -> random.nextGaussian();
            default -> word(random);
        };
    }

    private static String word(Random random) {
        String letters = "abcxyz 019äß☃\"\\\n";
        StringBuilder text = new StringBuilder();
        for (int left = random.nextInt(40); left > 0; left--) {
            text.append(letters.charAt(random.nextInt(letters.length())));
        }
        return text.toString();
    }

    // ---- what is printed ----------------------------------------------------------------------

    private void print(Message message) throws JMSException {
        Map<String, Object> shown = new LinkedHashMap<>();
        shown.put("kind", kind(message));
        shown.put("body", body(message));
        Map<String, Object> properties = new TreeMap<>();
        for (String name : names(message.getPropertyNames())) {
            properties.put(name, typedValue(message.getObjectProperty(name)));
        }
        shown.put("properties", properties);
        shown.put("JMSMessageID", message.getJMSMessageID());
        shown.put("JMSCorrelationID", message.getJMSCorrelationID());
        shown.put("JMSType", message.getJMSType());
        shown.put("JMSReplyTo", name(message.getJMSReplyTo()));
        shown.put("JMSDestination", name(message.getJMSDestination()));
        shown.put("JMSPriority", message.getJMSPriority());
        shown.put("JMSDeliveryMode", message.getJMSDeliveryMode());
        shown.put("JMSTimestamp", message.getJMSTimestamp());
        shown.put("JMSExpiration", message.getJMSExpiration());
        out.println(json(shown));
        out.flush();
    }

    private static List<String> names(Enumeration<?> enumeration) {
        List<String> names = new ArrayList<>();
        while (enumeration.hasMoreElements()) {
            names.add((String) enumeration.nextElement());
        }
        return names;
    }

    private static String kind(Message message) {
        return message instanceof TextMessage ? "text"
            : message instanceof BytesMessage ? "bytes"
            : message instanceof MapMessage ? "map"
            : message instanceof StreamMessage ? "stream"
            : message instanceof ObjectMessage ? "object" : "message";
    }

    private static Object body(Message message) throws JMSException {
        if (message instanceof TextMessage text) {
            return text.getText();
        }
        if (message instanceof BytesMessage data) {
            data.reset();
            byte[] bytes = new byte[(int) data.getBodyLength()];
            data.readBytes(bytes);
            return hex(bytes);
        }
        if (message instanceof MapMessage map) {
            Map<String, Object> values = new TreeMap<>();
            for (String name : names(map.getMapNames())) {
                values.put(name, typedValue(map.getObject(name)));
            }
            return values;
        }
        if (message instanceof StreamMessage stream) {
            return values(stream);
        }
        return message instanceof ObjectMessage object ? typedValue(object.getObject()) : null;
    }

    private static List<Object> values(StreamMessage stream) throws JMSException {
        List<Object> values = new ArrayList<>();
        stream.reset();
        while (true) {
            try {
                values.add(typedValue(stream.readObject()));
            } catch (MessageEOFException end) {
                return values;
            }
        }
    }

    private static String name(Destination destination) throws JMSException {
        return destination instanceof Queue queue ? "queue " + queue.getQueueName()
            : destination instanceof Topic topic ? "topic " + topic.getTopicName() : null;
    }

    private static List<Object> typedValue(Object value) {
        if (value == null) {
            return Collections.singletonList("null");
        }
        String type = value.getClass().getSimpleName();
        if (value instanceof byte[] data) {
            return List.of("bytes", hex(data));
        }
        if (value instanceof Float number) {
            return List.of(type, Integer.toHexString(Float.floatToRawIntBits(number)));
        }
        if (value instanceof Double number) {
            return List.of(type, Long.toHexString(Double.doubleToRawLongBits(number)));
        }
        if (value instanceof Character letter) {
            return List.of(type, (int) letter);
        }
        if (value instanceof Number || value instanceof Boolean || value instanceof String) {
            return List.of(type, value);
        }
        return List.of(type, value.toString(), hex(serial(value)));
    }

    /** Java's serial form, or nothing where the class has none. */
    private static byte[] serial(Object value) {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        try (ObjectOutputStream stream = new ObjectOutputStream(bytes)) {
            stream.writeObject(value);
        } catch (IOException unserialisable) {
            return new byte[0];
        }
        return bytes.toByteArray();
    }

    private static String hex(byte[] data) {
        StringBuilder text = new StringBuilder(2 * data.length);
        for (byte octet : data) {
            text.append(Character.forDigit(octet >> 4 & 15, 16))
                .append(Character.forDigit(octet & 15, 16));
        }
        return text.toString();
    }

    private static String json(Object value) {
        if (value == null || value instanceof Number || value instanceof Boolean) {
            return String.valueOf(value);
        }
        StringBuilder text = new StringBuilder();
        if (value instanceof Map<?, ?> map) {
            map.forEach((name, item) -> text.append(text.isEmpty() ? "{" : ",")
                .append(json(name)).append(':').append(json(item)));
            return text.isEmpty() ? "{}" : text.append('}').toString();
        }
        if (value instanceof List<?> list) {
            list.forEach(item -> text.append(text.isEmpty() ? "[" : ",").append(json(item)));
            return text.isEmpty() ? "[]" : text.append(']').toString();
        }
        text.append('"');
        for (char letter : value.toString().toCharArray()) {
            if (letter == '"' || letter == '\\') {
                text.append('\\').append(letter);
            } else if (letter < 32 || letter > 126) {
                text.append(String.format("\\u%04x", (int) letter));
            } else {
                text.append(letter);
            }
        }
        return text.append('"').toString();
    }
}
