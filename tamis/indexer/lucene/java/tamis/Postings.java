package tamis;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.IntBuffer;
import java.nio.ShortBuffer;
import java.util.Arrays;
import java.util.HashMap;
import org.apache.lucene.index.LeafReader;
import org.apache.lucene.index.NumericDocValues;
import org.apache.lucene.index.PostingsEnum;
import org.apache.lucene.index.Terms;
import org.apache.lucene.index.TermsEnum;
import org.apache.lucene.util.BytesRef;

/**
 * Reads one field of one segment out of Lucene, block by block, into memory that Python owns: first the terms, then, after
 * `rewind`, their postings.
 *
 * <p>A posting's code numbers the distinct pairs of term frequency and length byte (Lucene's norm) in the order in which they
 * are met; one table of them serves all fields that share a `Pairs`. Deleted documents are read like all others.
 */
public final class Postings {
  /** The pairs met so far. */
  public static final class Pairs {
    public static final int LIMIT = 1 << 16;
    private static final int SMALL = 1 << 8;
    private final int[] small = new int[SMALL << 8];
    private final HashMap<Long, Integer> large = new HashMap<>();
    private long[] pairs = new long[1 << 10];
    private int size;

    public Pairs() {
      Arrays.fill(small, -1);
    }

    int code(int frequency, int length) {
      if (frequency < SMALL) {
        int place = frequency << 8 | length;
        int code = small[place];
        return code >= 0 ? code : (small[place] = add(frequency, length));
      }
      return large.computeIfAbsent((long) frequency << 8 | length, pair -> add(frequency, length));
    }

    private int add(int frequency, int length) {
      if (size == pairs.length) pairs = Arrays.copyOf(pairs, 2 * size);
      pairs[size] = (long) frequency << 8 | length;
      return size++;
    }

    /** Each code's pair: frequency times 256 plus length byte. */
    public long[] toArray() {
      return Arrays.copyOf(pairs, size);
    }
  }

  private final LeafReader leaf;
  private final String field;
  private final Pairs pairs;
  private final byte[] lengths;
  private TermsEnum terms;
  private BytesRef term;
  private PostingsEnum postings;

  public Postings(LeafReader leaf, String field, Pairs pairs) throws IOException {
    this.leaf = leaf;
    this.field = field;
    this.pairs = pairs;
    lengths = new byte[leaf.maxDoc()];
    NumericDocValues norms = leaf.getNormValues(field);
    if (norms != null)
      for (int doc = norms.nextDoc(); doc != NumericDocValues.NO_MORE_DOCS; doc = norms.nextDoc())
        lengths[doc] = (byte) norms.longValue();
    rewind();
  }

  /** Goes back to the first term. */
  public void rewind() throws IOException {
    Terms all = leaf.terms(field);
    terms = all == null ? TermsEnum.EMPTY : all.iterator();
    term = terms.next();
  }

  /**
   * Writes as many of the next terms as fit.
   *
   * @param text the terms' bytes, one after another
   * @param ends where each ends in `text`
   * @param frequencies how many documents hold each
   * @return how many were written; 0 at the end
   */
  public int nextTerms(ByteBuffer text, ByteBuffer ends, ByteBuffer frequencies) throws IOException {
    IntBuffer places = ends.order(ByteOrder.nativeOrder()).asIntBuffer();
    IntBuffer counts = frequencies.order(ByteOrder.nativeOrder()).asIntBuffer();
    text.clear();
    int written = 0;
    while (term != null && places.hasRemaining() && text.remaining() >= term.length) {
      text.put(term.bytes, term.offset, term.length);
      places.put(text.position());
      counts.put(terms.docFreq());
      term = terms.next();
      written++;
    }
    return written;
  }

  /**
   * Writes the postings of as many of the next terms as fit whole.
   *
   * @param docs their document numbers
   * @param codes their codes
   * @return how many postings were written; 0 at the end, or when the next term does not fit into empty buffers
   * @throws ArithmeticException more codes than 16 bits can number
   */
  public int nextPostings(ByteBuffer docs, ByteBuffer codes) throws IOException {
    IntBuffer numbers = docs.order(ByteOrder.nativeOrder()).asIntBuffer();
    ShortBuffer values = codes.order(ByteOrder.nativeOrder()).asShortBuffer();
    while (term != null && numbers.remaining() >= terms.docFreq()) {
      postings = terms.postings(postings, PostingsEnum.FREQS);
      for (int doc = postings.nextDoc(); doc != PostingsEnum.NO_MORE_DOCS; doc = postings.nextDoc()) {
        int code = pairs.code(postings.freq(), lengths[doc] & 0xFF);
        if (code >= Pairs.LIMIT) throw new ArithmeticException("more than 65,536 pairs of frequency and length");
        numbers.put(doc);
        values.put((short) code);
      }
      term = terms.next();
    }
    return numbers.position();
  }
}
