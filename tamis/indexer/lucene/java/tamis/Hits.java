package tamis;

import java.io.IOException;
import org.apache.lucene.index.IndexReader;
import org.apache.lucene.index.Term;
import org.apache.lucene.index.TermsEnum;
import org.apache.lucene.search.ScoreDoc;
import org.apache.lucene.util.BytesRef;

/** What readers would otherwise fetch from Java one by one. */
public final class Hits {
  private Hits() {}

  /** Takes hits apart into document numbers and scores. */
  public static void split(ScoreDoc[] hits, int[] docs, float[] scores) {
    for (int i = 0; i < hits.length; i++) {
      docs[i] = hits[i].doc;
      scores[i] = hits[i].score;
    }
  }

  /** Makes hits that all score 0, to be re-scored. */
  public static ScoreDoc[] of(int[] docs) {
    ScoreDoc[] hits = new ScoreDoc[docs.length];
    for (int i = 0; i < docs.length; i++) hits[i] = new ScoreDoc(docs[i], 0);
    return hits;
  }

  /** The document frequency of each term of a field. */
  public static int[] frequencies(IndexReader reader, String field, String[] terms) throws IOException {
    int[] counts = new int[terms.length];
    for (int i = 0; i < terms.length; i++) counts[i] = reader.docFreq(new Term(field, terms[i]));
    return counts;
  }

  /** The terms of a term vector, a line each; `counts` takes their frequencies. No analyser leaves a line feed in a term. */
  public static String vector(TermsEnum terms, long[] counts) throws IOException {
    StringBuilder lines = new StringBuilder();
    int i = 0;
    for (BytesRef term = terms.next(); term != null; term = terms.next()) {
      if (i > 0) lines.append('\n');
      lines.append(term.utf8ToString());
      counts[i++] = terms.totalTermFreq();
    }
    return lines.toString();
  }
}
